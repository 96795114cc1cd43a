package peer;

import java.nio.charset.StandardCharsets;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.kafka.common.utils.Utils;

/** Kafka's partitions, and what they are keyed by: a number for each, chosen so that the subtasks get equally many. */
final class Keys {
    private Keys() {}

    static int partitionOf(String key) {
        return Utils.toPositive(Utils.murmur2(key.getBytes(StandardCharsets.UTF_8))) % Config.PARTITIONS;
    }

    /** Give the keys by partition. Flink spreads keys by a hash of them, and of twelve by nine and three as well as by six and six. */
    static Integer[] of(int parallelism) {
        int most = KeyGroupRangeAssignment.computeDefaultMaxParallelism(parallelism);
        Integer[] keys = new Integer[Config.PARTITIONS];
        int next = 0;
        for (int partition = 0; partition < keys.length; partition++) {
            int wanted = partition % parallelism;
            while (KeyGroupRangeAssignment.assignKeyToParallelOperator(next, most, parallelism) != wanted) {
                next++;
            }
            keys[partition] = next++;
        }
        return keys;
    }
}
