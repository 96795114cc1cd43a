package peer;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** A record of the inputs on its way to settlement, as bytes: nothing is decoded before the shuffle. Key and value may be null. */
record Input(boolean ofOrders, int partition, long offset, long timestamp, byte[] key, byte[] value) {
    private static final int HEAD = 1 + 1 + 8 + 8 + 4 + 4;
    private static final int NONE = -1;

    static int partition(byte[] packed) {
        return packed[1];
    }

    byte[] pack() {
        ByteBuffer to = ByteBuffer.allocate(HEAD + (key == null ? 0 : key.length) + (value == null ? 0 : value.length));
        to.put((byte) (ofOrders ? 1 : 0)).put((byte) partition).putLong(offset).putLong(timestamp);
        to.putInt(key == null ? NONE : key.length).putInt(value == null ? NONE : value.length);
        if (key != null) {
            to.put(key);
        }
        if (value != null) {
            to.put(value);
        }
        return to.array();
    }

    static Input unpack(byte[] packed) {
        ByteBuffer from = ByteBuffer.wrap(packed);
        boolean ofOrders = from.get() == 1;
        int partition = from.get();
        long offset = from.getLong();
        long timestamp = from.getLong();
        int keyLength = from.getInt();
        int valueLength = from.getInt();
        int begin = HEAD + Math.max(keyLength, 0);
        byte[] key = keyLength == NONE ? null : Arrays.copyOfRange(packed, HEAD, begin);
        byte[] value = valueLength == NONE ? null : Arrays.copyOfRange(packed, begin, begin + valueLength);
        return new Input(ofOrders, partition, offset, timestamp, key, value);
    }

    /** Takes records as they are. */
    static final class Schema implements KafkaRecordDeserializationSchema<byte[]> {
        private static final long serialVersionUID = 1;
        private final String ordersTopic;

        Schema(String ordersTopic) {
            this.ordersTopic = ordersTopic;
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<byte[]> out) {
            boolean ofOrders = record.topic().equals(ordersTopic);
            out.collect(new Input(
                            ofOrders, record.partition(), record.offset(), record.timestamp(), record.key(), record.value())
                    .pack());
        }

        @Override
        public TypeInformation<byte[]> getProducedType() {
            return PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
        }
    }
}
