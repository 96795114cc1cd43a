package peer;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import peer.Rules.Movement;

/** What goes from settlement to revenue: money of a minute (from one task, summed since its last), or how far a task is. */
record Delta(Movement movement, int task, long watermarkMs) {
    private static final int MEASURES = 5;

    static byte[] bytes(Delta delta) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(96);
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            Movement movement = delta.movement;
            out.writeBoolean(movement != null);
            if (movement == null) {
                out.writeInt(delta.task);
                out.writeLong(delta.watermarkMs);
            } else {
                cell(out, movement);
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return bytes.toByteArray();
    }

    static Delta read(byte[] bytes) {
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            return in.readBoolean() ? new Delta(cell(in), 0, 0) : new Delta(null, in.readInt(), in.readLong());
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static void cell(DataOutputStream out, Movement movement) throws IOException {
        out.writeLong(movement.minuteMs());
        Binary.text(out, movement.merchantId());
        Binary.text(out, movement.currency());
        for (long amount : movement.amounts()) {
            out.writeLong(amount);
        }
    }

    private static Movement cell(DataInputStream in) throws IOException {
        long minuteMs = in.readLong();
        String merchantId = Binary.text(in);
        String currency = Binary.text(in);
        long[] amounts = new long[MEASURES];
        for (int at = 0; at < MEASURES; at++) {
            amounts[at] = in.readLong();
        }
        return new Movement(merchantId, currency, minuteMs, amounts);
    }
}
