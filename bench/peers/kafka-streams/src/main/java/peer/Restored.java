package peer;

import java.util.Locale;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Says how many records were restored in how many seconds, each time when nothing is left to be restored; as our workers say it. */
final class Restored implements StateRestoreListener {
    private int active;
    private int stores;
    private long records;
    private long beganNanos;

    @Override
    public synchronized void onRestoreStart(TopicPartition changelog, String store, long begin, long end) {
        if (active++ == 0) {
            stores = 0;
            records = 0;
            beganNanos = System.nanoTime();
        }
        stores++;
    }

    @Override
    public synchronized void onBatchRestored(TopicPartition changelog, String store, long last, long count) {
        records += count;
    }

    @Override
    public synchronized void onRestoreEnd(TopicPartition changelog, String store, long total) {
        end();
    }

    @Override
    public synchronized void onRestoreSuspended(TopicPartition changelog, String store, long total) {
        end();
    }

    private void end() {
        if (--active == 0) {
            double seconds = (System.nanoTime() - beganNanos) / 1e9;
            System.out.printf(Locale.ROOT, "restored %d tasks: %d records in %.3f s%n", stores, records, seconds);
        }
    }
}
