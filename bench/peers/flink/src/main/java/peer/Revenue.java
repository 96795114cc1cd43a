package peer;

import java.time.Instant;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import peer.Rules.Movement;

/** The minutes of merchants: provisional rows once per checkpoint, and a final one when all tasks of settlement have passed it. */
final class Revenue extends Stage<Tuple2<Integer, byte[]>, Revenue.Windows> {
    private static final long serialVersionUID = 1;
    private static final int MEASURES = 5;

    /** What is held in memory of one partition: how far each task is, and the minutes (revision and sums) that were added to. */
    static final class Windows {
        final long[] heardMs = new long[Config.PARTITIONS];
        long watermarkMs;
        long oldestOpenMs = Long.MIN_VALUE;
        final Map<Tuple3<Long, String, String>, long[]> touched = new LinkedHashMap<>();
    }

    private transient Map<String, Integer> partitions;
    private transient MapState<Tuple3<Long, String, String>, long[]> minutes;
    private transient ValueState<long[]> heard;

    Revenue(String configFile) {
        super(configFile);
    }

    @Override
    public void open() throws Exception {
        super.open();
        partitions = new HashMap<>();
        // RocksDB has them in the order of their bytes, which begin with the time.
        minutes = getRuntimeContext()
                .getMapState(new MapStateDescriptor<>(
                        "minutes", Types.TUPLE(Types.LONG, Types.STRING, Types.STRING),
                        PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
        heard = getRuntimeContext()
                .getState(new ValueStateDescriptor<>("heard", PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
    }

    @Override
    Windows load() throws Exception {
        Windows windows = new Windows();
        long[] known = heard.value();
        if (known != null) {
            System.arraycopy(known, 0, windows.heardMs, 0, known.length);
            windows.watermarkMs = least(known);
        }
        return windows;
    }

    @Override
    void process(Windows windows, Tuple2<Integer, byte[]> value) throws Exception {
        Delta delta = Delta.read(value.f1);
        if (delta.movement() == null) {
            hear(windows, delta);
        } else {
            add(windows, delta.movement());
        }
    }

    private void add(Windows windows, Movement movement) throws Exception {
        if (movement.minuteMs() <= overMs(windows)) {
            byte[] key = Rows.key(movement.merchantId(), movement.currency(), movement.minuteMs());
            send(Out.byKey("revenue-adjustments", key, codec.encode(Rows.adjustment(movement, "", "", "final"))));
            return;
        }
        Tuple3<Long, String, String> place = Tuple3.of(movement.minuteMs(), movement.merchantId(), movement.currency());
        long[] sums = windows.touched.get(place);
        if (sums == null) {
            sums = minutes.get(place);
            windows.touched.put(place, sums = sums == null ? new long[MEASURES + 1] : sums);
        }
        sums[0]++;
        for (int at = 0; at < MEASURES; at++) {
            sums[at + 1] += movement.amounts()[at];
        }
        windows.oldestOpenMs = Math.min(windows.oldestOpenMs, movement.minuteMs());
    }

    private void hear(Windows windows, Delta delta) throws Exception {
        windows.heardMs[delta.task()] = delta.watermarkMs();
        long reachedMs = least(windows.heardMs);
        if (reachedMs <= windows.watermarkMs) {
            return;
        }
        windows.watermarkMs = reachedMs;
        if (windows.oldestOpenMs <= overMs(windows)) {
            closeOver(windows);
        }
    }

    private static long least(long[] times) {
        long least = Long.MAX_VALUE;
        for (long each : times) {
            least = Math.min(least, each);
        }
        return least;
    }

    private long overMs(Windows windows) {
        return windows.watermarkMs - config.graceMs() - Config.MINUTE_MS;
    }

    private void closeOver(Windows windows) throws Exception {
        write(windows);
        windows.oldestOpenMs = Long.MAX_VALUE;
        Iterator<Map.Entry<Tuple3<Long, String, String>, long[]>> open = minutes.iterator();
        while (open.hasNext()) {
            Map.Entry<Tuple3<Long, String, String>, long[]> each = open.next();
            if (each.getKey().f0 > overMs(windows)) {
                windows.oldestOpenMs = each.getKey().f0;
                return;
            }
            long[] last = each.getValue().clone();
            last[0]++;
            sendRow(each.getKey(), last, "final");
            windows.touched.remove(each.getKey());
            open.remove();
        }
    }

    private void write(Windows windows) throws Exception {
        for (Map.Entry<Tuple3<Long, String, String>, long[]> each : windows.touched.entrySet()) {
            minutes.put(each.getKey(), each.getValue());
        }
    }

    @Override
    void flush(Windows windows) throws Exception {
        write(windows);
        for (Map.Entry<Tuple3<Long, String, String>, long[]> each : windows.touched.entrySet()) {
            sendRow(each.getKey(), each.getValue(), "provisional");
        }
        windows.touched.clear();
        heard.update(windows.heardMs);
    }

    private void sendRow(Tuple3<Long, String, String> place, long[] sums, String status) {
        long startMs = place.f0;
        tally.MerchantRevenue row = new tally.MerchantRevenue(
                place.f1, place.f2, Instant.ofEpochMilli(startMs), Instant.ofEpochMilli(startMs + Config.MINUTE_MS), status,
                sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[3] - sums[4]);
        int partition = partitions.computeIfAbsent(place.f1, Keys::partitionOf);
        byte[] key = Rows.key(place.f1, place.f2, startMs);
        send(new Out("revenue-by-merchant-1m", key, codec.encode(row), partition, Map.of()));
    }
}
