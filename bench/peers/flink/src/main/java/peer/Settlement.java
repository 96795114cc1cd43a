package peer;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.specific.SpecificRecord;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.OutputTag;
import peer.Rules.Movement;
import peer.Rules.Said;

/**
 * One order at a time, over both inputs of a partition. Orders that were touched, and what is added to the minutes of merchants, are
 * held until the barrier; the timers of a partition run by its own time, so they are a state and not Flink's.
 */
final class Settlement extends Stage<byte[], Settlement.Task> {
    private static final long serialVersionUID = 1;
    static final OutputTag<Tuple2<Integer, byte[]>> DELTAS =
            new OutputTag<>("deltas", Types.TUPLE(Types.INT, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
    private static final TypeInformation<byte[]> BYTES = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    private static final long TOLD_MS = 1_000;

    private record Place(String merchantId, String currency, long minuteMs) {}

    /** What is held in memory of one partition. */
    static final class Task {
        int partition;
        long newestOrderMs;
        long newestPaymentMs;
        long watermarkMs;
        long toldMs;
        long nextTimerMs = Long.MIN_VALUE;
        final Map<String, OrderState> touched = new LinkedHashMap<>();
        final Map<Place, long[]> sums = new LinkedHashMap<>();
    }

    private transient Progress progress;
    private transient Rules rules;
    private transient Said said;
    private transient Map<String, Integer> partitions;
    private transient MapState<String, byte[]> orders;
    private transient MapState<Tuple2<Long, String>, Boolean> timers;
    private transient ValueState<byte[]> clock;

    Settlement(String configFile) {
        super(configFile);
    }

    @Override
    public void open() throws Exception {
        super.open();
        progress = new Progress(config);
        rules = new Rules(config);
        said = new Said();
        partitions = new HashMap<>();
        orders = getRuntimeContext().getMapState(new MapStateDescriptor<>("orders", Types.STRING, BYTES));
        // RocksDB has them in the order of their bytes, which begin with the time.
        timers = getRuntimeContext()
                .getMapState(new MapStateDescriptor<>("timers", Types.TUPLE(Types.LONG, Types.STRING), Types.BOOLEAN));
        clock = getRuntimeContext().getState(new ValueStateDescriptor<>("clock", BYTES));
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        progress.snapshot(context.getCheckpointId());
    }

    @Override
    public void notifyCheckpointComplete(long checkpointId) throws Exception {
        super.notifyCheckpointComplete(checkpointId);
        progress.complete(checkpointId);
    }

    @Override
    public void close() throws Exception {
        super.close();
        if (progress != null) {
            progress.close();
        }
    }

    @Override
    Task load() throws Exception {
        Task task = new Task();
        byte[] times = clock.value();
        if (times != null) {
            task.newestOrderMs = Binary.getLong(times, 0);
            task.newestPaymentMs = Binary.getLong(times, 8);
            task.watermarkMs = Binary.getLong(times, 16);
            task.toldMs = Binary.getLong(times, 24);
            task.partition = (int) Binary.getLong(times, 32);
        }
        return task;
    }

    @Override
    void process(Task task, byte[] packed) throws Exception {
        Input input = Input.unpack(packed);
        task.partition = input.partition();
        progress.note(input);
        Event event;
        try {
            event = codec.decode(input.value(), input.ofOrders());
        } catch (Codec.Undecodable error) {
            sendDead(input, "undecodable", error.getMessage());
            return;
        }
        String refused = refusal(input, event);
        if (refused != null) {
            sendDead(input, "envelope", refused);
            return;
        }
        OrderState order = order(task, event.orderId());
        boolean isNew = order == null;
        if (isNew) {
            order = new OrderState();
        }
        long dueBeforeMs = isNew ? Long.MAX_VALUE : rules.dueMs(order);
        long reachedMs = Math.max(input.ofOrders() ? task.newestOrderMs : task.newestPaymentMs, task.watermarkMs);
        long oldestMs = Math.max(reachedMs - config.dedupHorizonMs(), 0);
        long overMs = Math.max(reachedMs - config.graceMs() - Config.MINUTE_MS, 0);
        said.clear();
        String outcome = rules.decide(order, event, oldestMs, overMs, said);
        if (outcome != null) {
            if (!outcome.equals(Rules.DUPLICATE)) {
                sendDead(input, "rule", outcome);
            }
            return;
        }
        note(task, event, input.ofOrders());
        task.touched.put(event.orderId(), order);
        follow(task, event.orderId(), dueBeforeMs, rules.dueMs(order));
        send(task);
        if (task.nextTimerMs <= task.watermarkMs) {
            fire(task);
        }
    }

    private OrderState order(Task task, String orderId) throws Exception {
        OrderState touched = task.touched.get(orderId);
        if (touched != null) {
            return touched;
        }
        byte[] bytes = orders.get(orderId);
        return bytes == null ? null : OrderState.read(bytes);
    }

    private String refusal(Input input, Event event) {
        if (input.key() == null) {
            return "key_missing";
        }
        if (!Arrays.equals(input.key(), event.orderId().getBytes(StandardCharsets.UTF_8))) {
            return "key_mismatch";
        }
        if (input.partition() != Keys.partitionOf(event.orderId())) {
            return "misrouted";
        }
        return event.occurredAtMs() - input.timestamp() > config.futureMaxMs() ? "from_the_future" : null;
    }

    // Time.

    private static void note(Task task, Event event, boolean ofOrders) {
        if (ofOrders) {
            task.newestOrderMs = Math.max(task.newestOrderMs, event.occurredAtMs());
        } else {
            task.newestPaymentMs = Math.max(task.newestPaymentMs, event.occurredAtMs());
        }
        task.watermarkMs = Math.max(task.watermarkMs, Math.min(task.newestOrderMs, task.newestPaymentMs));
    }

    private void follow(Task task, String orderId, long beforeMs, long afterMs) throws Exception {
        if (beforeMs == afterMs) {
            return;
        }
        if (beforeMs != Long.MAX_VALUE) {
            timers.remove(Tuple2.of(beforeMs, orderId));
        }
        if (afterMs != Long.MAX_VALUE) {
            timers.put(Tuple2.of(afterMs, orderId), true);
            task.nextTimerMs = Math.min(task.nextTimerMs, afterMs);
        }
    }

    /** Do what is due by the watermark, the longest due first, and note when the next is. */
    private void fire(Task task) throws Exception {
        List<Tuple2<Long, String>> due = new ArrayList<>();
        task.nextTimerMs = Long.MAX_VALUE;
        for (Tuple2<Long, String> timer : timers.keys()) {
            if (timer.f0 > task.watermarkMs) {
                task.nextTimerMs = timer.f0;
                break;
            }
            due.add(timer);
        }
        for (Tuple2<Long, String> timer : due) {
            String orderId = timer.f1;
            OrderState order = order(task, orderId);
            if (task.touched.remove(orderId) != null) {
                sendStatus(orderId, order); // what time leaves of it may say nothing any more
            }
            said.clear();
            boolean isLeft = rules.wake(order, orderId, task.watermarkMs, said);
            timers.remove(timer);
            if (isLeft) {
                orders.put(orderId, order.bytes());
                follow(task, orderId, Long.MAX_VALUE, rules.dueMs(order));
            } else {
                orders.remove(orderId);
            }
            send(task);
        }
        if (task.nextTimerMs <= task.watermarkMs) {
            fire(task); // time had more to do with one of them
        }
    }

    // Sending.

    private void send(Task task) {
        for (Movement movement : said.movements) {
            Place place = new Place(movement.merchantId(), movement.currency(), movement.minuteMs());
            long[] known = task.sums.get(place);
            if (known == null) {
                task.sums.put(place, movement.amounts().clone());
            } else {
                for (int at = 0; at < known.length; at++) {
                    known[at] += movement.amounts()[at];
                }
            }
        }
        for (SpecificRecord row : said.rows) {
            if (row instanceof tally.RevenueAdjustment) {
                tally.RevenueAdjustment it = (tally.RevenueAdjustment) row;
                Map<String, String> dimensions = it.getDimensions();
                byte[] key = Rows.key(dimensions.get("merchant_id"), dimensions.get("currency"), it.getMinute().toEpochMilli());
                send(Out.byKey("revenue-adjustments", key, codec.encode(row)));
            } else {
                String topic = row instanceof tally.UnpaidOrder ? "unpaid-orders" : "unmatched-payments";
                String key = row.get(row.getSchema().getField("order_id").pos()).toString();
                send(Out.byKey(topic, key.getBytes(StandardCharsets.UTF_8), codec.encode(row)));
            }
        }
    }

    /** Write the orders and say their status, send the sums, and behind them how far the task is: nothing is late by its own time. */
    @Override
    void flush(Task task) throws Exception {
        for (Map.Entry<String, OrderState> each : task.touched.entrySet()) {
            orders.put(each.getKey(), each.getValue().bytes());
            sendStatus(each.getKey(), each.getValue());
        }
        task.touched.clear();
        for (Map.Entry<Place, long[]> each : task.sums.entrySet()) {
            Place place = each.getKey();
            Movement movement = new Movement(place.merchantId, place.currency, place.minuteMs, each.getValue());
            sendDelta(partitions.computeIfAbsent(place.merchantId, Keys::partitionOf), new Delta(movement, 0, 0));
        }
        task.sums.clear();
        long tellMs = task.watermarkMs - task.watermarkMs % TOLD_MS;
        if (tellMs > task.toldMs) {
            task.toldMs = tellMs;
            for (int partition = 0; partition < Config.PARTITIONS; partition++) {
                sendDelta(partition, new Delta(null, task.partition, tellMs));
            }
        }
        saveClock(task);
    }

    private void saveClock(Task task) throws Exception {
        byte[] times = new byte[40];
        Binary.putLong(times, 0, task.newestOrderMs);
        Binary.putLong(times, 8, task.newestPaymentMs);
        Binary.putLong(times, 16, task.watermarkMs);
        Binary.putLong(times, 24, task.toldMs);
        Binary.putLong(times, 32, task.partition);
        clock.update(times);
    }

    private void sendDelta(int partition, Delta delta) {
        output.collect(DELTAS, new StreamRecord<>(Tuple2.of(partition, Delta.bytes(delta))));
    }

    private void sendStatus(String orderId, OrderState order) {
        if (order.placed != null && !order.seen.isEmpty()) {
            byte[] key = orderId.getBytes(StandardCharsets.UTF_8);
            send(Out.byKey("order-status", key, codec.encode(Rows.status(orderId, order))));
        }
    }

    private void sendDead(Input input, String kind, String reason) {
        String source = input.ofOrders() ? "orders" : "payments";
        Map<String, String> headers = Map.of(
                "__streams.errors.topic", config.prefix() + source,
                "__streams.errors.partition", String.valueOf(input.partition()),
                "__streams.errors.offset", String.valueOf(input.offset()),
                "__tally.errors.class", kind,
                "__tally.errors.reason", reason);
        send(new Out(source + ".dlq", input.key(), input.value(), null, headers));
    }
}
