package peer;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** A record to be sent; without a partition murmur2 of the key decides. It goes to a sink in the same chain and is never serialised. */
record Out(String topic, byte[] key, byte[] value, Integer partition, Map<String, String> headers) {
    static Out byKey(String topic, byte[] key, byte[] value) {
        return new Out(topic, key, value, null, Map.of());
    }

    /** Gives what the producer takes. */
    static final class Schema implements KafkaRecordSerializationSchema<Out> {
        private static final long serialVersionUID = 1;
        private final String prefix;

        Schema(String prefix) {
            this.prefix = prefix;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Out out, KafkaSinkContext context, Long timestamp) {
            ProducerRecord<byte[], byte[]> record =
                    new ProducerRecord<>(prefix + out.topic, out.partition, null, out.key, out.value);
            out.headers.forEach((name, text) -> record.headers().add(name, text.getBytes(StandardCharsets.UTF_8)));
            return record;
        }
    }
}
