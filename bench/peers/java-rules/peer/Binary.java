package peer;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;

/** Small helpers for keys and values in the stores. */
final class Binary {
    private Binary() {}

    static void putLong(byte[] to, int at, long value) {
        for (int i = 7; i >= 0; i--) {
            to[at + i] = (byte) value;
            value >>>= 8;
        }
    }

    static long getLong(byte[] from, int at) {
        long value = 0;
        for (int i = 0; i < 8; i++) {
            value = value << 8 | from[at + i] & 0xff;
        }
        return value;
    }

    /** Write text of any length; {@link DataOutput#writeUTF} ends at 64 KiB. */
    static void text(DataOutput out, String text) throws IOException {
        if (text == null) {
            out.writeInt(-1);
            return;
        }
        byte[] bytes = text.getBytes(java.nio.charset.StandardCharsets.UTF_8);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    static String text(DataInput in) throws IOException {
        int length = in.readInt();
        if (length < 0) {
            return null;
        }
        byte[] bytes = new byte[length];
        in.readFully(bytes);
        return new String(bytes, java.nio.charset.StandardCharsets.UTF_8);
    }
}
