package peer;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import peer.Rules.Movement;

/** The minutes of merchants: provisional rows once per commit, and a final one when all tasks of settlement have passed it. */
final class Revenue implements Processor<byte[], byte[], byte[], Out> {
    static final String WINDOWS = "minutes";
    static final String HEARD = "heard";
    private static final Bytes WATERMARK = Bytes.wrap(new byte[] {-1});
    private static final int MEASURES = 5;

    private final Config config;
    private final Codec codec;
    private final Map<String, Integer> partitions = new HashMap<>();
    private final long[] heardMs = new long[Config.PARTITIONS];
    private ProcessorContext<byte[], Out> context;
    private KeyValueStore<Bytes, byte[]> windows;
    private KeyValueStore<Bytes, byte[]> heard;
    private long watermarkMs;
    private long oldestOpenMs = Long.MIN_VALUE;

    Revenue(Config config) {
        this.config = config;
        codec = new Codec(config);
    }

    @Override
    public void init(ProcessorContext<byte[], Out> context) {
        this.context = context;
        windows = context.getStateStore(WINDOWS);
        heard = context.getStateStore(HEARD);
        for (int task = 0; task < heardMs.length; task++) {
            heardMs[task] = time(heard.get(taskKey(task)));
        }
        watermarkMs = time(heard.get(WATERMARK));
        OnFlush.<Bytes, byte[]>forward(context, (StateStore) windows, (key, state) -> send(key, state, "provisional"));
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Delta delta = Delta.read(record.value());
        if (delta.movement() == null) {
            hear(delta);
        } else {
            add(delta.movement(), record.timestamp());
        }
    }

    private void add(Movement movement, long timestamp) {
        if (movement.minuteMs() <= watermarkMs - config.graceMs() - Config.MINUTE_MS) {
            tally.RevenueAdjustment row = Rows.adjustment(movement, "", "", "final");
            byte[] key = Rows.key(movement.merchantId(), movement.currency(), movement.minuteMs());
            context.forward(new Record<>(key, Out.byKey(codec.encode(row)), timestamp), "revenue-adjustments-final");
            return;
        }
        Bytes key = windowKey(movement);
        byte[] before = windows.get(key);
        byte[] after = new byte[8 * (MEASURES + 1)];
        Binary.putLong(after, 0, before == null ? 1 : Binary.getLong(before, 0) + 1);
        for (int at = 0; at < MEASURES; at++) {
            long known = before == null ? 0 : Binary.getLong(before, 8 * (at + 1));
            Binary.putLong(after, 8 * (at + 1), known + movement.amounts()[at]);
        }
        windows.put(key, after);
        oldestOpenMs = Math.min(oldestOpenMs, movement.minuteMs());
    }

    private void hear(Delta delta) {
        heardMs[delta.task()] = delta.watermarkMs();
        heard.put(taskKey(delta.task()), time(delta.watermarkMs()));
        long reachedMs = Long.MAX_VALUE;
        for (long each : heardMs) {
            reachedMs = Math.min(reachedMs, each);
        }
        if (reachedMs <= watermarkMs) {
            return;
        }
        watermarkMs = reachedMs;
        heard.put(WATERMARK, time(watermarkMs));
        if (oldestOpenMs <= overMs()) {
            closeOver();
        }
    }

    private long overMs() {
        return watermarkMs - config.graceMs() - Config.MINUTE_MS;
    }

    private void closeOver() {
        try (KeyValueIterator<Bytes, byte[]> open = windows.all()) {
            while (open.hasNext()) {
                KeyValue<Bytes, byte[]> each = open.next();
                oldestOpenMs = Binary.getLong(each.key.get(), 0);
                if (oldestOpenMs > overMs()) {
                    return;
                }
                byte[] last = each.value.clone();
                Binary.putLong(last, 0, Binary.getLong(last, 0) + 1);
                windows.delete(each.key);
                send(each.key, last, "final");
            }
        }
        oldestOpenMs = Long.MAX_VALUE;
    }

    private void send(Bytes key, byte[] state, String status) {
        byte[] place = key.get();
        long startMs = Binary.getLong(place, 0);
        String text = new String(place, 8, place.length - 8, StandardCharsets.UTF_8);
        int end = text.lastIndexOf('\0');
        String merchantId = text.substring(0, end);
        String currency = text.substring(end + 1);
        long[] held = new long[MEASURES];
        for (int at = 0; at < MEASURES; at++) {
            held[at] = Binary.getLong(state, 8 * (at + 1));
        }
        tally.MerchantRevenue row = new tally.MerchantRevenue(
                merchantId, currency, Instant.ofEpochMilli(startMs), Instant.ofEpochMilli(startMs + Config.MINUTE_MS), status,
                Binary.getLong(state, 0), held[0], held[1], held[2], held[3], held[4], held[2] - held[3]);
        int partition = partitions.computeIfAbsent(
                merchantId, id -> Utils.toPositive(Utils.murmur2(id.getBytes(StandardCharsets.UTF_8))) % Config.PARTITIONS);
        byte[] rowKey = Rows.key(merchantId, currency, startMs);
        Out out = new Out(codec.encode(row), partition);
        context.forward(new Record<>(rowKey, out, context.currentSystemTimeMs()), "revenue-by-merchant-1m");
    }

    /** Begin with the time, so that the windows that are over are the first of the store. */
    private static Bytes windowKey(Movement movement) {
        byte[] text = (movement.merchantId() + '\0' + movement.currency()).getBytes(StandardCharsets.UTF_8);
        byte[] key = new byte[8 + text.length];
        Binary.putLong(key, 0, movement.minuteMs());
        System.arraycopy(text, 0, key, 8, text.length);
        return Bytes.wrap(key);
    }

    private static Bytes taskKey(int task) {
        return Bytes.wrap(new byte[] {(byte) task});
    }

    private static byte[] time(long ms) {
        byte[] bytes = new byte[8];
        Binary.putLong(bytes, 0, ms);
        return bytes;
    }

    private static long time(byte[] bytes) {
        return bytes == null ? 0 : Binary.getLong(bytes, 0);
    }
}
