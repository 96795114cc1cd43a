package peer;

import java.util.List;

/** One input event, of whatever kind; fields that its kind does not have are null or 0. Times are milliseconds since 1970. */
record Event(
        Kind kind, String eventId, String orderId, long occurredAtMs, String source, String customerId, String merchantId,
        String currency, long amountMinor, List<tally.OrderLine> lines, String paymentId, String method, String refundId) {

    enum Kind {
        ORDER_PLACED("OrderPlaced", true),
        ORDER_CANCELLED("OrderCancelled", true),
        PAYMENT_CAPTURED("PaymentCaptured", false),
        PAYMENT_FAILED("PaymentFailed", false),
        PAYMENT_REFUNDED("PaymentRefunded", false);

        final String avroName;
        final boolean ofOrders;

        Kind(String avroName, boolean ofOrders) {
            this.avroName = avroName;
            this.ofOrders = ofOrders;
        }
    }
}
