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
                Bytes8.text(out, placed.merchantId);
                Bytes8.text(out, placed.customerId);
                Bytes8.text(out, placed.currency);
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
                Bytes8.text(out, capture.paymentId);
                out.writeLong(capture.capturedMinor);
                out.writeLong(capture.capturedAtMs);
                Bytes8.text(out, capture.method);
                out.writeLong(capture.refundedMinor);
                out.writeLong(capture.refundedAtMs);
                out.writeInt(capture.refundIds.size());
                for (String refundId : capture.refundIds) {
                    Bytes8.text(out, refundId);
                }
            }
            out.writeInt(waiting.size());
            for (Event event : waiting) {
                out.writeByte(event.kind().ordinal());
                Bytes8.text(out, event.eventId());
                Bytes8.text(out, event.orderId());
                out.writeLong(event.occurredAtMs());
                Bytes8.text(out, event.source());
                Bytes8.text(out, event.currency());
                out.writeLong(event.amountMinor());
                Bytes8.text(out, event.paymentId());
                Bytes8.text(out, event.method());
                Bytes8.text(out, event.refundId());
            }
            out.writeInt(seen.size());
            for (String eventId : seen) {
                Bytes8.text(out, eventId);
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
                placed.merchantId = Bytes8.text(in);
                placed.customerId = Bytes8.text(in);
                placed.currency = Bytes8.text(in);
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
                capture.paymentId = Bytes8.text(in);
                capture.capturedMinor = in.readLong();
                capture.capturedAtMs = in.readLong();
                capture.method = Bytes8.text(in);
                capture.refundedMinor = in.readLong();
                capture.refundedAtMs = in.readLong();
                for (int refunds = in.readInt(); refunds > 0; refunds--) {
                    capture.refundIds.add(Bytes8.text(in));
                }
                state.captures.add(capture);
            }
            for (int left = in.readInt(); left > 0; left--) {
                Event.Kind kind = Event.Kind.values()[in.readByte()];
                state.waiting.add(new Event(
                        kind, Bytes8.text(in), Bytes8.text(in), in.readLong(), Bytes8.text(in), null, null, Bytes8.text(in),
                        in.readLong(), null, Bytes8.text(in), Bytes8.text(in), Bytes8.text(in)));
            }
            for (int left = in.readInt(); left > 0; left--) {
                state.seen.add(Bytes8.text(in));
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return state;
    }
}
