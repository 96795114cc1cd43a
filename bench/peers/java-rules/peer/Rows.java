package peer;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import peer.OrderState.Capture;
import peer.OrderState.Placed;
import peer.Rules.Movement;

/** Output rows and their keys, as schemas/keys.py and agents/settlement/rows.py have them. */
final class Rows {
    static final String[] MEASURES = {"orders_count", "gross_minor", "captured_minor", "refunded_minor", "cancelled_minor"};
    private static final String READABLE = " !$&'()*+,-./:;=@_~";
    private static final DateTimeFormatter MINUTE = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm'Z'").withZone(ZoneOffset.UTC);

    private Rows() {}

    static byte[] key(String merchantId, String currency, long minuteMs) {
        String text = quoted(merchantId) + '|' + quoted(currency) + '|' + MINUTE.format(Instant.ofEpochMilli(minuteMs));
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String quoted(String text) {
        StringBuilder out = null;
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        for (int at = 0; at < bytes.length; at++) {
            int each = bytes[at] & 0xff;
            boolean readable = each >= 'a' && each <= 'z' || each >= 'A' && each <= 'Z' || each >= '0' && each <= '9'
                    || each < 128 && READABLE.indexOf(each) >= 0;
            if (!readable && out == null) {
                out = new StringBuilder(new String(bytes, 0, at, StandardCharsets.UTF_8));
            }
            if (out != null) {
                out.append(readable ? String.valueOf((char) each) : String.format("%%%02X", each));
            }
        }
        return out == null ? text : out.toString();
    }

    static tally.RevenueAdjustment adjustment(Movement moved, String eventId, String eventType, String reason) {
        Map<String, String> dimensions = new LinkedHashMap<>();
        dimensions.put("merchant_id", moved.merchantId());
        dimensions.put("currency", moved.currency());
        Map<String, Long> amounts = new LinkedHashMap<>();
        for (int at = 0; at < MEASURES.length; at++) {
            if (moved.amounts()[at] != 0) {
                amounts.put(MEASURES[at], moved.amounts()[at]);
            }
        }
        return new tally.RevenueAdjustment(
                "money", dimensions, Instant.ofEpochMilli(moved.minuteMs()), amounts, eventId, eventType, reason);
    }

    static tally.OrderStatus status(String orderId, OrderState order) {
        Placed placed = order.placed;
        List<Capture> oldestFirst = order.captures;
        if (oldestFirst.size() > 1) {
            oldestFirst = new ArrayList<>(oldestFirst);
            Comparator<Capture> byTime = Comparator.comparingLong(capture -> capture.capturedAtMs);
            oldestFirst.sort(byTime.thenComparing(capture -> capture.paymentId));
        }
        List<tally.OrderCapture> captures = new ArrayList<>(oldestFirst.size());
        for (Capture capture : oldestFirst) {
            captures.add(new tally.OrderCapture(
                    capture.paymentId, capture.method, Instant.ofEpochMilli(capture.capturedAtMs), capture.capturedMinor,
                    capture.refundedMinor, time(capture.refundedAtMs)));
        }
        long captured = order.capturedMinor();
        long refunded = order.refundedMinor();
        return new tally.OrderStatus(
                orderId, placed.merchantId, placed.customerId, placed.currency, order.status(), placed.amountMinor, captured,
                refunded, order.cancelledAtMs != OrderState.NEVER && captured > refunded, order.failuresCount,
                Instant.ofEpochMilli(placed.occurredAtMs), time(order.cancelledAtMs), Instant.ofEpochMilli(order.updatedAtMs),
                order.bookedCount, captures);
    }

    private static Instant time(long ms) {
        return ms == OrderState.NEVER ? null : Instant.ofEpochMilli(ms);
    }
}
