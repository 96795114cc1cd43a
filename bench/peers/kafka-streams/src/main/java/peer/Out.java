package peer;

import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.processor.StreamPartitioner;

/** A record to be sent: its value, and its partition where the key does not decide it. */
record Out(byte[] value, int partition) {
    static final int BY_KEY = -1;
    static final int TO_ALL = -2;
    static final Serializer<Out> SERIALIZER = (topic, out) -> out.value;
    private static final Map<Integer, Optional<Set<Integer>>> ONE = new TreeMap<>();
    private static final Optional<Set<Integer>> ALL;

    static {
        Set<Integer> all = new TreeSet<>();
        for (int partition = 0; partition < Config.PARTITIONS; partition++) {
            ONE.put(partition, Optional.of(Set.of(partition)));
            all.add(partition);
        }
        ALL = Optional.of(all);
    }

    static final StreamPartitioner<byte[], Out> PARTITIONER = (topic, key, out, partitions) ->
            out.partition == BY_KEY ? Optional.empty() : out.partition == TO_ALL ? ALL : ONE.get(out.partition);

    static Out byKey(byte[] value) {
        return new Out(value, BY_KEY);
    }
}
