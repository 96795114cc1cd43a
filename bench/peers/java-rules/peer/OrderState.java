package peer;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** Everything known of one order; the mirror of agents/settlement/state.py. Mutable: it is decoded anew for each event. */
final class OrderState {
    static final long NEVER = Long.MIN_VALUE;

    static final class Placed {
        String merchantId;
        String customerId;
        String currency;
        long amountMinor;
        long occurredAtMs;
        /** Stands for the whole content; 0 once the order is closed. */
        long fingerprint;
    }

    static final class Capture {
        String paymentId;
        long capturedMinor;
        long capturedAtMs;
        String method;
        long refundedMinor;
        long refundedAtMs = NEVER;
        List<String> refundIds = new ArrayList<>(1);

        long refundableMinor() {
            return capturedMinor - refundedMinor;
        }
    }

    static final Comparator<Event> OLDEST_FIRST = Comparator.comparingLong(Event::occurredAtMs).thenComparing(Event::eventId);

    Placed placed;
    long cancelledAtMs = NEVER;
    List<Capture> captures = new ArrayList<>(2);
    int failuresCount;
    long updatedAtMs;
    long bookedCount;
    List<Event> waiting = new ArrayList<>(0);
    List<String> seen = new ArrayList<>(4);
    long newestMs;
    boolean wasUnpaid;

    long capturedMinor() {
        long sum = 0;
        for (Capture capture : captures) {
            sum += capture.capturedMinor;
        }
        return sum;
    }

    long refundedMinor() {
        long sum = 0;
        for (Capture capture : captures) {
            sum += capture.refundedMinor;
        }
        return sum;
    }

    String status() {
        long captured = capturedMinor();
        long refunded = refundedMinor();
        if (cancelledAtMs != NEVER) {
            return "cancelled";
        }
        if (captured != 0 && captured == refunded) {
            return "refunded";
        }
        if (placed != null && captured >= placed.amountMinor) {
            return "captured";
        }
        return captured != 0 ? "partially_captured" : "placed";
    }

    static Serde<OrderState> serde() {
        Serializer<OrderState> to = (topic, state) -> state == null ? null : state.bytes();
        Deserializer<OrderState> from = (topic, bytes) -> bytes == null ? null : read(bytes);
        return Serdes.serdeFrom(to, from);
    }

    byte[] bytes() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeBoolean(placed != null);
            if (placed != null) {
                Binary.text(out, placed.merchantId);
                Binary.text(out, placed.customerId);
                Binary.text(out, placed.currency);
                out.writeLong(placed.amountMinor);
                out.writeLong(placed.occurredAtMs);
                out.writeLong(placed.fingerprint);
            }
            out.writeLong(cancelledAtMs);
            out.writeInt(failuresCount);
            out.writeLong(updatedAtMs);
            out.writeLong(bookedCount);
            out.writeLong(newestMs);
            out.writeBoolean(wasUnpaid);
            out.writeInt(captures.size());
            for (Capture capture : captures) {
                Binary.text(out, capture.paymentId);
                out.writeLong(capture.capturedMinor);
                out.writeLong(capture.capturedAtMs);
                Binary.text(out, capture.method);
                out.writeLong(capture.refundedMinor);
                out.writeLong(capture.refundedAtMs);
                out.writeInt(capture.refundIds.size());
                for (String refundId : capture.refundIds) {
                    Binary.text(out, refundId);
                }
            }
            out.writeInt(waiting.size());
            for (Event event : waiting) {
                out.writeByte(event.kind().ordinal());
                Binary.text(out, event.eventId());
                Binary.text(out, event.orderId());
                out.writeLong(event.occurredAtMs());
                Binary.text(out, event.source());
                Binary.text(out, event.currency());
                out.writeLong(event.amountMinor());
                Binary.text(out, event.paymentId());
                Binary.text(out, event.method());
                Binary.text(out, event.refundId());
            }
            out.writeInt(seen.size());
            for (String eventId : seen) {
                Binary.text(out, eventId);
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return bytes.toByteArray();
    }

    static OrderState read(byte[] bytes) {
        OrderState state = new OrderState();
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            if (in.readBoolean()) {
                Placed placed = new Placed();
                placed.merchantId = Binary.text(in);
                placed.customerId = Binary.text(in);
                placed.currency = Binary.text(in);
                placed.amountMinor = in.readLong();
                placed.occurredAtMs = in.readLong();
                placed.fingerprint = in.readLong();
                state.placed = placed;
            }
            state.cancelledAtMs = in.readLong();
            state.failuresCount = in.readInt();
            state.updatedAtMs = in.readLong();
            state.bookedCount = in.readLong();
            state.newestMs = in.readLong();
            state.wasUnpaid = in.readBoolean();
            for (int left = in.readInt(); left > 0; left--) {
                Capture capture = new Capture();
                capture.paymentId = Binary.text(in);
                capture.capturedMinor = in.readLong();
                capture.capturedAtMs = in.readLong();
                capture.method = Binary.text(in);
                capture.refundedMinor = in.readLong();
                capture.refundedAtMs = in.readLong();
                for (int refunds = in.readInt(); refunds > 0; refunds--) {
                    capture.refundIds.add(Binary.text(in));
                }
                state.captures.add(capture);
            }
            for (int left = in.readInt(); left > 0; left--) {
                Event.Kind kind = Event.Kind.values()[in.readByte()];
                state.waiting.add(new Event(
                        kind, Binary.text(in), Binary.text(in), in.readLong(), Binary.text(in), null, null, Binary.text(in),
                        in.readLong(), null, Binary.text(in), Binary.text(in), Binary.text(in)));
            }
            for (int left = in.readInt(); left > 0; left--) {
                state.seen.add(Binary.text(in));
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return state;
    }
}
