package peer;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.specific.SpecificRecord;
import peer.Event.Kind;
import peer.OrderState.Capture;
import peer.OrderState.Placed;

/** The rule book of settlement, as agents/settlement/decide.py, booking.py and lifecycle.py have it. No clock, no I/O. */
final class Rules {
    static final int MAX_EVENTS_PER_ORDER = 1_000;
    static final int MAX_ID_CHARACTERS = 128;
    static final long MAX_AMOUNT_MINOR = 1_000_000_000_000L;
    static final long FIRST_TIME_MS = 946_684_800_000L;
    static final long LAST_TIME_MS = 253_402_300_799_000L;
    static final String DUPLICATE = "";

    /** What one event, or time, did beside the state: money that moved in minutes, and rows to be sent. */
    static final class Said {
        final List<Movement> movements = new ArrayList<>(1);
        final List<SpecificRecord> rows = new ArrayList<>(0);

        void clear() {
            movements.clear();
            rows.clear();
        }
    }

    /** Amounts are in the order orders_count, gross, captured, refunded, cancelled. */
    record Movement(String merchantId, String currency, long minuteMs, long[] amounts) {}

    private final Config config;
    private final MessageDigest md5;

    Rules(Config config) {
        this.config = config;
        try {
            md5 = MessageDigest.getInstance("MD5");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    /**
     * Apply an event to an order. Give null when it was applied, DUPLICATE, or the reason to reject it; then nothing changed.
     *
     * @param oldestMs what occurred before is too old to tell whether it is new
     * @param overMs what moves in a minute that began then or before is late
     */
    String decide(OrderState order, Event event, long oldestMs, long overMs, Said said) {
        if (order.seen.contains(event.eventId()) || repeatsTheOrder(order, event)) {
            return DUPLICATE;
        }
        String broken = brokenByContent(order, event, oldestMs);
        if (broken == null) {
            broken = brokenByState(order, event, true);
        }
        if (broken != null) {
            return broken;
        }
        order.seen.add(event.eventId());
        order.newestMs = Math.max(order.newestMs, event.occurredAtMs());
        if (mustWait(order, event)) {
            order.waiting.add(event);
            order.waiting.sort(OrderState.OLDEST_FIRST);
            return null;
        }
        book(order, event, overMs, said);
        if (!order.waiting.isEmpty()) {
            bookWhatWaited(order, overMs, said);
        }
        return null;
    }

    // Rules, in the order in which they are asked.

    private String brokenByContent(OrderState order, Event event, long oldestMs) {
        if (hasBadId(event)) {
            return "bad_id";
        }
        if (event.occurredAtMs() < FIRST_TIME_MS || event.occurredAtMs() > LAST_TIME_MS) {
            return "bad_time";
        }
        if (event.occurredAtMs() < oldestMs) {
            return "beyond_horizon";
        }
        if (order.seen.size() >= MAX_EVENTS_PER_ORDER) {
            return "order_full";
        }
        if (event.kind() == Kind.ORDER_CANCELLED) {
            return null;
        }
        if (event.kind() == Kind.ORDER_PLACED) {
            for (tally.OrderLine line : event.lines()) {
                if (line.getQuantity() <= 0 || line.getUnitPriceMinor() < 0) {
                    return "amount_not_positive";
                }
            }
        }
        if (event.amountMinor() <= 0) {
            return "amount_not_positive";
        }
        if (event.amountMinor() > MAX_AMOUNT_MINOR) {
            return "amount_too_large";
        }
        if (!config.currencies().contains(event.currency())) {
            return "unknown_currency";
        }
        return event.kind() == Kind.ORDER_PLACED && !isSumOfLines(event) ? "amount_mismatch" : null;
    }

    /** The rules that look at the order; without {@code all}, only those that what came later can break. */
    private static String brokenByState(OrderState order, Event event, boolean all) {
        switch (event.kind()) {
            case ORDER_PLACED:
                return all && order.placed != null ? "order_already_placed" : null;
            case ORDER_CANCELLED:
                return all && (order.cancelledAtMs != OrderState.NEVER || waits(order, Kind.ORDER_CANCELLED))
                        ? "already_cancelled"
                        : null;
            default:
                break;
        }
        if (order.placed != null && !order.placed.currency.equals(event.currency())) {
            return "currency_mismatch";
        }
        if (event.kind() == Kind.PAYMENT_CAPTURED && (captureOf(order, event) != null || waitingCaptureOf(order, event) != null)) {
            return "payment_already_captured";
        }
        if (event.kind() == Kind.PAYMENT_REFUNDED) {
            if (isRefundBooked(order, event.refundId())) {
                return "refund_already_booked";
            }
            if (exceedsCapture(order, event)) {
                return "refund_exceeds_capture";
            }
        }
        return null;
    }

    private static boolean hasBadId(Event event) {
        return isBad(event.eventId()) || isBad(event.orderId()) || isBad(event.source()) || isBadIfThere(event.customerId())
                || isBadIfThere(event.merchantId()) || isBadIfThere(event.paymentId()) || isBadIfThere(event.method())
                || isBadIfThere(event.refundId());
    }

    private static boolean isBadIfThere(String id) {
        return id != null && isBad(id);
    }

    private static boolean isBad(String id) {
        return id.isEmpty() || id.length() > MAX_ID_CHARACTERS && id.codePointCount(0, id.length()) > MAX_ID_CHARACTERS;
    }

    private static boolean isSumOfLines(Event event) {
        long sum = 0;
        try {
            for (tally.OrderLine line : event.lines()) {
                sum = Math.addExact(sum, Math.multiplyExact(line.getUnitPriceMinor(), (long) line.getQuantity()));
            }
        } catch (ArithmeticException error) {
            return false;
        }
        return sum == event.amountMinor();
    }

    private static boolean isRefundBooked(OrderState order, String refundId) {
        for (Capture capture : order.captures) {
            if (capture.refundIds.contains(refundId)) {
                return true;
            }
        }
        for (Event other : order.waiting) {
            if (other.kind() == Kind.PAYMENT_REFUNDED && other.refundId().equals(refundId)) {
                return true;
            }
        }
        return false;
    }

    private static boolean exceedsCapture(OrderState order, Event event) {
        Capture booked = captureOf(order, event);
        if (booked != null) {
            return event.amountMinor() > booked.refundableMinor();
        }
        Event capture = waitingCaptureOf(order, event);
        if (capture == null) {
            return false;
        }
        long promised = 0;
        for (Event other : order.waiting) {
            if (other.kind() == Kind.PAYMENT_REFUNDED && other.paymentId().equals(event.paymentId())) {
                promised += other.amountMinor();
            }
        }
        return event.amountMinor() > capture.amountMinor() - promised;
    }

    private static boolean waits(OrderState order, Kind kind) {
        for (Event other : order.waiting) {
            if (other.kind() == kind) {
                return true;
            }
        }
        return false;
    }

    /** The booked capture that a payment event speaks of; a refund of an old one is of what a closed order had captured. */
    private static Capture captureOf(OrderState order, Event event) {
        for (Capture capture : order.captures) {
            if (capture.paymentId.equals(event.paymentId())) {
                return capture;
            }
        }
        if (event.kind() == Kind.PAYMENT_REFUNDED) {
            for (Capture capture : order.captures) {
                if (capture.paymentId.isEmpty()) {
                    return capture;
                }
            }
        }
        return null;
    }

    private static Event waitingCaptureOf(OrderState order, Event event) {
        for (Event other : order.waiting) {
            if (other.kind() == Kind.PAYMENT_CAPTURED && other.paymentId().equals(event.paymentId())) {
                return other;
            }
        }
        return null;
    }

    // What waits, and what is booked.

    private static boolean mustWait(OrderState order, Event event) {
        if (event.kind() == Kind.ORDER_PLACED) {
            return false;
        }
        return order.placed == null || event.kind() == Kind.PAYMENT_REFUNDED && captureOf(order, event) == null;
    }

    private void bookWhatWaited(OrderState order, long overMs, Said said) {
        for (int at = 0; at < order.waiting.size(); ) {
            Event ready = order.waiting.get(at);
            if (mustWait(order, ready)) {
                at++;
                continue;
            }
            order.waiting.remove(at);
            String broken = brokenByState(order, ready, false);
            if (broken == null) {
                book(order, ready, overMs, said);
            } else if (!ready.kind().ofOrders) {
                said.rows.add(unmatched(ready, broken));
            }
            at = 0;
        }
    }

    private void book(OrderState order, Event event, long overMs, Said said) {
        order.bookedCount++;
        order.updatedAtMs = Math.max(order.updatedAtMs, event.occurredAtMs());
        switch (event.kind()) {
            case ORDER_PLACED: {
                Placed placed = new Placed();
                placed.merchantId = event.merchantId();
                placed.customerId = event.customerId();
                placed.currency = event.currency();
                placed.amountMinor = event.amountMinor();
                placed.occurredAtMs = event.occurredAtMs();
                placed.fingerprint = fingerprint(event);
                order.placed = placed;
                move(order, event, overMs, said, 1, event.amountMinor(), 0, 0, 0);
                break;
            }
            case ORDER_CANCELLED:
                order.cancelledAtMs = event.occurredAtMs();
                move(order, event, overMs, said, 0, 0, 0, 0, order.placed.amountMinor);
                break;
            case PAYMENT_CAPTURED: {
                Capture capture = new Capture();
                capture.paymentId = event.paymentId();
                capture.capturedMinor = event.amountMinor();
                capture.capturedAtMs = event.occurredAtMs();
                capture.method = event.method();
                order.captures.add(capture);
                order.captures.sort((a, b) -> a.paymentId.compareTo(b.paymentId));
                move(order, event, overMs, said, 0, 0, event.amountMinor(), 0, 0);
                break;
            }
            case PAYMENT_REFUNDED: {
                Capture capture = captureOf(order, event);
                capture.refundedMinor += event.amountMinor();
                capture.refundedAtMs = Math.max(Math.max(capture.refundedAtMs, 0), event.occurredAtMs());
                capture.refundIds.add(event.refundId());
                move(order, event, overMs, said, 0, 0, 0, event.amountMinor(), 0);
                break;
            }
            default:
                order.failuresCount++;
        }
    }

    /** Money moves in the minute of the later of its event and its order; too late for its window, it is a row of its own. */
    private static void move(OrderState order, Event event, long overMs, Said said, long... amounts) {
        long timeMs = Math.max(event.occurredAtMs(), order.placed.occurredAtMs);
        long minuteMs = timeMs - timeMs % Config.MINUTE_MS;
        Movement movement = new Movement(order.placed.merchantId, order.placed.currency, minuteMs, amounts);
        if (minuteMs > overMs) {
            said.movements.add(movement);
        } else {
            said.rows.add(Rows.adjustment(movement, event.eventId(), event.kind().avroName, "late"));
        }
    }

    private boolean repeatsTheOrder(OrderState order, Event event) {
        return event.kind() == Kind.ORDER_PLACED && order.placed != null && order.placed.fingerprint == fingerprint(event);
    }

    /** Eight bytes that stand for the content of an order, without who sent it under which event id; never 0. */
    private long fingerprint(Event event) {
        md5.reset();
        update(event.merchantId());
        update(event.customerId());
        update(event.currency());
        update(event.amountMinor());
        update(event.occurredAtMs());
        for (tally.OrderLine line : event.lines()) {
            update(line.getSku());
            update(line.getQuantity());
            update(line.getUnitPriceMinor());
        }
        long found = Binary.getLong(md5.digest(), 0);
        return found == 0 ? 1 : found;
    }

    private void update(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        update(bytes.length);
        md5.update(bytes);
    }

    private void update(long number) {
        byte[] bytes = new byte[8];
        Binary.putLong(bytes, 0, number);
        md5.update(bytes);
    }

    // What time does to an order.

    /** Give the watermark at which time has something to do with the order; Long.MAX_VALUE: never. */
    long dueMs(OrderState order) {
        long due = closingMs(order);
        long sinceMs = waitsSinceMs(order);
        if (sinceMs != OrderState.NEVER) {
            due = Math.min(due, sinceMs + config.waitingMaxMs() + 1);
        }
        return Math.min(due, unpaidCheckMs(order));
    }

    /** Do what is due. Give whether anything is left of the order. */
    boolean wake(OrderState order, String orderId, long watermarkMs, Said said) {
        long giveUpMs = watermarkMs - config.waitingMaxMs();
        long sinceMs = waitsSinceMs(order);
        if (sinceMs != OrderState.NEVER && sinceMs < giveUpMs) {
            order.waiting.removeIf(event -> {
                boolean gone = !event.kind().ofOrders && event.occurredAtMs() < giveUpMs;
                if (gone) {
                    said.rows.add(unmatched(event, "waited_too_long"));
                }
                return gone;
            });
        }
        if (unpaidCheckMs(order) <= watermarkMs) {
            order.wasUnpaid = true;
            Placed placed = order.placed;
            said.rows.add(new tally.UnpaidOrder(
                    orderId, placed.merchantId, placed.customerId, placed.currency, placed.amountMinor,
                    Instant.ofEpochMilli(placed.occurredAtMs),
                    Instant.ofEpochMilli(placed.occurredAtMs + config.unpaidAfterMs())));
        }
        if (closingMs(order) > watermarkMs) {
            return true;
        }
        if (order.seen.isEmpty() || order.placed == null) {
            return false;
        }
        close(order);
        return true;
    }

    private static void close(OrderState order) {
        if (!order.captures.isEmpty()) {
            Capture all = new Capture();
            all.paymentId = "";
            all.method = "";
            all.capturedAtMs = Long.MIN_VALUE;
            for (Capture capture : order.captures) {
                all.capturedMinor += capture.capturedMinor;
                all.refundedMinor += capture.refundedMinor;
                all.capturedAtMs = Math.max(all.capturedAtMs, capture.capturedAtMs);
                all.refundedAtMs = Math.max(all.refundedAtMs, capture.refundedAtMs);
            }
            order.captures = new ArrayList<>(List.of(all));
        }
        order.placed.fingerprint = 0;
        order.waiting.clear();
        order.seen.clear();
    }

    private long closingMs(OrderState order) {
        if (waitsSinceMs(order) != OrderState.NEVER) {
            return Long.MAX_VALUE;
        }
        long keptMs = order.seen.isEmpty() ? config.keepClosedMs() : config.dedupHorizonMs();
        return (order.newestMs + keptMs) / Config.HOUR_MS * Config.HOUR_MS + Config.HOUR_MS;
    }

    private static long waitsSinceMs(OrderState order) {
        for (Event event : order.waiting) {
            if (!event.kind().ofOrders) {
                return event.occurredAtMs();
            }
        }
        return OrderState.NEVER;
    }

    private long unpaidCheckMs(OrderState order) {
        if (order.placed == null || order.wasUnpaid || order.seen.isEmpty()) {
            return Long.MAX_VALUE;
        }
        long untilMs = order.placed.occurredAtMs + config.unpaidAfterMs();
        if (order.cancelledAtMs != OrderState.NEVER && order.cancelledAtMs <= untilMs) {
            return Long.MAX_VALUE;
        }
        for (Capture capture : order.captures) {
            if (capture.capturedAtMs <= untilMs) {
                return Long.MAX_VALUE;
            }
        }
        return untilMs - untilMs % Config.MINUTE_MS + Config.MINUTE_MS + config.graceMs();
    }

    private static tally.UnmatchedPayment unmatched(Event event, String reason) {
        return new tally.UnmatchedPayment(
                event.eventId(), event.kind().avroName, event.orderId(), Instant.ofEpochMilli(event.occurredAtMs()),
                event.paymentId(), event.amountMinor(), event.currency(), reason);
    }
}
