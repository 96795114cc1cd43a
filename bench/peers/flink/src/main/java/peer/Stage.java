package peer;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * An operator that is keyed by Kafka's partitions and bundles: what it does between two checkpoints is held in memory for each of
 * its keys, and goes to state and outputs before the barrier of the next, as the bundle operators of Flink's SQL do.
 *
 * @param <I> what comes
 * @param <T> what is held in memory for one key
 */
abstract class Stage<I, T> extends AbstractStreamOperator<Out> implements OneInputStreamOperator<I, Out> {
    private static final long serialVersionUID = 1;
    private final String configFile;
    protected transient Config config;
    protected transient Codec codec;
    private transient Map<Object, T> tasks;

    Stage(String configFile) {
        this.configFile = configFile;
    }

    @Override
    public void open() throws Exception {
        super.open();
        config = Config.read(java.nio.file.Path.of(configFile));
        codec = new Codec(config);
        tasks = new LinkedHashMap<>();
    }

    @Override
    public void processElement(StreamRecord<I> element) throws Exception {
        Object key = getCurrentKey();
        T task = tasks.get(key);
        if (task == null) {
            tasks.put(key, task = load());
        }
        process(task, element.getValue());
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpointId) throws Exception {
        for (Map.Entry<Object, T> each : tasks.entrySet()) {
            setCurrentKey(each.getKey());
            flush(each.getValue());
        }
    }

    protected void send(Out out) {
        output.collect(new StreamRecord<>(out));
    }

    /** Give what the state of the current key says. */
    abstract T load() throws Exception;

    abstract void process(T task, I value) throws Exception;

    /** Write and send what was held back. */
    abstract void flush(T task) throws Exception;
}
