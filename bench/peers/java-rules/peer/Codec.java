package peer;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.time.Instant;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.avro.specific.SpecificRecord;
import org.apache.avro.specific.SpecificRecordBase;
import peer.Event.Kind;

/** Avro in the Confluent wire format: a zero byte, the schema id in four, one datum that uses all the rest. One per task. */
final class Codec {
    /** Bytes that are no event; the reason is the catalogue's. */
    static final class Undecodable extends Exception {
        Undecodable(String reason) {
            super(reason, null, false, false);
        }
    }

    private record Input(Kind kind, SpecificDatumReader<? extends SpecificRecord> reader) {}

    private record Output(int schemaId, SpecificDatumWriter<SpecificRecord> writer) {}

    private static final int BEGIN = 5;
    private final Map<Integer, Input> inputs = new HashMap<>();
    private final Set<Integer> known;
    private final Map<Class<?>, Output> outputs = new HashMap<>();
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;

    Codec(Config config) {
        Map<String, Integer> ids = config.schemaIds();
        known = new HashSet<>(ids.values());
        inputs.put(ids.get("OrderPlaced"), new Input(Kind.ORDER_PLACED, new SpecificDatumReader<>(tally.OrderPlaced.class)));
        inputs.put(
                ids.get("OrderCancelled"), new Input(Kind.ORDER_CANCELLED, new SpecificDatumReader<>(tally.OrderCancelled.class)));
        inputs.put(
                ids.get("PaymentCaptured"),
                new Input(Kind.PAYMENT_CAPTURED, new SpecificDatumReader<>(tally.PaymentCaptured.class)));
        inputs.put(
                ids.get("PaymentFailed"), new Input(Kind.PAYMENT_FAILED, new SpecificDatumReader<>(tally.PaymentFailed.class)));
        inputs.put(
                ids.get("PaymentRefunded"),
                new Input(Kind.PAYMENT_REFUNDED, new SpecificDatumReader<>(tally.PaymentRefunded.class)));
        for (SpecificRecordBase each : new SpecificRecordBase[] {
            new tally.OrderStatus(), new tally.MerchantRevenue(), new tally.UnmatchedPayment(), new tally.UnpaidOrder(),
            new tally.RevenueAdjustment()
        }) {
            int id = ids.get(each.getClass().getSimpleName());
            outputs.put(each.getClass(), new Output(id, new SpecificDatumWriter<>(each.getSchema())));
        }
    }

    /** Give the event in a value of the orders (or else the payments) topic. */
    Event decode(byte[] value, boolean ofOrders) throws Undecodable {
        if (value == null) {
            throw new Undecodable("null_value");
        }
        if (value.length < BEGIN || value[0] != 0) {
            throw new Undecodable("no_magic_byte");
        }
        int id = (value[1] & 0xff) << 24 | (value[2] & 0xff) << 16 | (value[3] & 0xff) << 8 | value[4] & 0xff;
        Input input = inputs.get(id);
        if (input == null) {
            throw new Undecodable(known.contains(id) ? "unexpected_type" : "unknown_schema_id");
        }
        Event event;
        decoder = DecoderFactory.get().binaryDecoder(value, BEGIN, value.length - BEGIN, decoder);
        SpecificRecord datum;
        try {
            datum = input.reader.read(null, decoder);
            if (!decoder.isEnd()) {
                throw new Undecodable("trailing_bytes");
            }
            event = eventOf(input.kind, datum);
        } catch (EOFException error) {
            throw new Undecodable("truncated");
        } catch (IOException | RuntimeException error) {
            throw new Undecodable("malformed");
        }
        // Avro puts U+FFFD where bytes are no UTF-8; only if one is there, look whether it was sent.
        if (hasReplacement(event) && !Arrays.equals(value, BEGIN, value.length, datumBytes(datum), 0, bytes.size())) {
            throw new Undecodable("invalid_utf8");
        }
        if (input.kind.ofOrders != ofOrders) {
            throw new Undecodable("unexpected_type");
        }
        return event;
    }

    /** Give the bytes of an output row. */
    byte[] encode(SpecificRecord row) {
        Output output = outputs.get(row.getClass());
        bytes.reset();
        int id = output.schemaId;
        bytes.write(0);
        bytes.write(id >>> 24);
        bytes.write(id >>> 16);
        bytes.write(id >>> 8);
        bytes.write(id);
        try {
            encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
            output.writer.write(row, encoder);
            encoder.flush();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return bytes.toByteArray();
    }

    private byte[] datumBytes(SpecificRecord datum) {
        bytes.reset();
        try {
            encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
            new SpecificDatumWriter<SpecificRecord>(datum.getSchema()).write(datum, encoder);
            encoder.flush();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return bytes.toByteArray();
    }

    private static Event eventOf(Kind kind, SpecificRecord datum) {
        switch (kind) {
            case ORDER_PLACED: {
                tally.OrderPlaced it = (tally.OrderPlaced) datum;
                return new Event(
                        kind, it.getEventId(), it.getOrderId(), ms(it.getOccurredAt()), it.getSource(), it.getCustomerId(),
                        it.getMerchantId(), it.getCurrency(), it.getAmountMinor(), it.getLines(), null, null, null);
            }
            case ORDER_CANCELLED: {
                tally.OrderCancelled it = (tally.OrderCancelled) datum;
                return new Event(
                        kind, it.getEventId(), it.getOrderId(), ms(it.getOccurredAt()), it.getSource(), null, null, null, 0, null,
                        null, null, null);
            }
            case PAYMENT_CAPTURED: {
                tally.PaymentCaptured it = (tally.PaymentCaptured) datum;
                return new Event(
                        kind, it.getEventId(), it.getOrderId(), ms(it.getOccurredAt()), it.getSource(), null, null,
                        it.getCurrency(), it.getAmountMinor(), null, it.getPaymentId(), it.getMethod(), null);
            }
            case PAYMENT_FAILED: {
                tally.PaymentFailed it = (tally.PaymentFailed) datum;
                return new Event(
                        kind, it.getEventId(), it.getOrderId(), ms(it.getOccurredAt()), it.getSource(), null, null,
                        it.getCurrency(), it.getAmountMinor(), null, it.getPaymentId(), it.getMethod(), null);
            }
            default: {
                tally.PaymentRefunded it = (tally.PaymentRefunded) datum;
                return new Event(
                        kind, it.getEventId(), it.getOrderId(), ms(it.getOccurredAt()), it.getSource(), null, null,
                        it.getCurrency(), it.getAmountMinor(), null, it.getPaymentId(), null, it.getRefundId());
            }
        }
    }

    private static long ms(Instant time) {
        return time.toEpochMilli();
    }

    private static boolean hasReplacement(Event event) {
        if (marked(event.eventId()) || marked(event.orderId()) || marked(event.source()) || marked(event.customerId())
                || marked(event.merchantId()) || marked(event.currency()) || marked(event.paymentId()) || marked(event.method())
                || marked(event.refundId())) {
            return true;
        }
        if (event.lines() != null) {
            for (tally.OrderLine line : event.lines()) {
                if (marked(line.getSku())) {
                    return true;
                }
            }
        }
        return false;
    }

    private static boolean marked(String text) {
        return text != null && text.indexOf('\uFFFD') >= 0;
    }
}
