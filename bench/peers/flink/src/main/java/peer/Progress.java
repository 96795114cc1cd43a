package peer;

import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * Commits to the group how far the inputs are in each complete checkpoint, for others to see. Flink's source would commit the same,
 * but on the thread that polls, which at the end of its topics sits in one poll for ten seconds.
 */
final class Progress implements AutoCloseable {
    private static final long NOTHING = -1;

    private final Admin admin;
    private final String group;
    private final String prefix;
    private final long[][] next = {new long[Config.PARTITIONS], new long[Config.PARTITIONS]};
    private final TreeMap<Long, Map<TopicPartition, OffsetAndMetadata>> ofCheckpoints = new TreeMap<>();

    Progress(Config config) {
        admin = Admin.create(Map.of("bootstrap.servers", config.bootstrap()));
        group = config.application();
        prefix = config.prefix();
        for (long[] each : next) {
            Arrays.fill(each, NOTHING);
        }
    }

    void note(Input input) {
        next[input.ofOrders() ? 1 : 0][input.partition()] = input.offset() + 1;
    }

    void snapshot(long checkpointId) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (int of = 0; of < next.length; of++) {
            for (int partition = 0; partition < Config.PARTITIONS; partition++) {
                if (next[of][partition] != NOTHING) {
                    TopicPartition place = new TopicPartition(prefix + (of == 1 ? "orders" : "payments"), partition);
                    offsets.put(place, new OffsetAndMetadata(next[of][partition]));
                }
            }
        }
        ofCheckpoints.put(checkpointId, offsets);
    }

    /** Commit; that of a later checkpoint makes good what fails. */
    void complete(long checkpointId) {
        Map<TopicPartition, OffsetAndMetadata> offsets = ofCheckpoints.get(checkpointId);
        ofCheckpoints.headMap(checkpointId, true).clear();
        if (offsets != null && !offsets.isEmpty()) {
            admin.alterConsumerGroupOffsets(group, offsets);
        }
    }

    @Override
    public void close() {
        admin.close(Duration.ZERO);
    }
}
