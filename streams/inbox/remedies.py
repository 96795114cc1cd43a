"""What the producer should do about each reason, as README's tables say it; a test holds the two equal."""

from __future__ import annotations

REMEDIES = {
    "key_missing": "send order_id, as UTF-8, as the key",
    "key_mismatch": "send order_id as the key",
    "misrouted": "set partitioner=murmur2_random",
    "from_the_future": "send milliseconds; set the clock",
    "bad_id": "fill in every id",
    "bad_time": "send milliseconds since 1970, UTC",
    "beyond_horizon": "check what is booked; what is missing, send dated today",
    "order_full": "stop the loop",
    "amount_not_positive": "send what is given back as PaymentRefunded, with a positive amount",
    "amount_too_large": "send minor units",
    "unknown_currency": "send the code in capitals",
    "amount_mismatch": "make shipping a line, put discounts into unit prices",
    "order_already_placed": "give each order its own order_id",
    "currency_mismatch": "report the amount in the order's currency",
    "payment_already_captured": "nothing if it is a repeat; a second charge needs its own payment_id",
    "refund_already_booked": "nothing if it is a repeat; a second refund needs its own refund_id",
    "refund_exceeds_capture": "correct the refund; find out where the money went",
    "already_cancelled": "nothing if it is a repeat",
    "null_value": "send no tombstones to the inputs",
    "no_magic_byte": "use the Confluent wire format, not JSON or bare Avro",
    "unknown_schema_id": "use the ids of the catalogue, or of the registry where there is one",
    "incompatible_schema": "keep our fields, their types and what their numbers mean; new fields are fine",
    "truncated": "look for what cuts records on the way",
    "trailing_bytes": "send one record per message",
    "invalid_utf8": "encode strings as UTF-8",
    "malformed": "encode with the schema that the id names",
    "unexpected_type": "send orders to orders, payments to payments",
}
