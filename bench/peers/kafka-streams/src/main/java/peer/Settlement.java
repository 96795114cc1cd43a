package peer;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import peer.Rules.Movement;
import peer.Rules.Said;

/**
 * One order at a time, over both inputs of a partition. What is added to the minutes of merchants is summed in a store and sent on
 * once per commit interval; a status row goes out when the cache gives the order up.
 */
final class Settlement implements Processor<byte[], byte[], byte[], Out> {
    static final String ORDERS = "order-state";
    static final String TIMERS = "timers";
    static final String SUMS = "unsent-sums";
    static final String CLOCK = "clock";
    private static final Bytes CLOCK_KEY = Bytes.wrap(new byte[] {0});
    private static final long TOLD_MS = 1_000;
    private static final byte[] NOTHING = {};

    private record Place(String merchantId, String currency, long minuteMs) {}

    private final Config config;
    private final Codec codec;
    private final Rules rules;
    private final Said said = new Said();
    private final Map<Place, long[]> sums = new HashMap<>();
    private final Map<String, Integer> partitions = new HashMap<>();
    private final String ordersTopic;
    private ProcessorContext<byte[], Out> context;
    private KeyValueStore<String, OrderState> orders;
    private KeyValueStore<Bytes, byte[]> timers;
    private KeyValueStore<Bytes, byte[]> unsent;
    private KeyValueStore<Bytes, byte[]> clock;
    private long newestOrderMs;
    private long newestPaymentMs;
    private long watermarkMs;
    private long toldMs;
    private long nextTimerMs = Long.MIN_VALUE;

    Settlement(Config config) {
        this.config = config;
        codec = new Codec(config);
        rules = new Rules(config);
        ordersTopic = config.prefix() + "orders";
    }

    @Override
    public void init(ProcessorContext<byte[], Out> context) {
        this.context = context;
        orders = context.getStateStore(ORDERS);
        timers = context.getStateStore(TIMERS);
        unsent = context.getStateStore(SUMS);
        clock = context.getStateStore(CLOCK);
        byte[] times = clock.get(CLOCK_KEY);
        if (times != null) {
            newestOrderMs = Binary.getLong(times, 0);
            newestPaymentMs = Binary.getLong(times, 8);
            watermarkMs = Binary.getLong(times, 16);
            toldMs = Binary.getLong(times, 24);
        }
        try (KeyValueIterator<Bytes, byte[]> left = unsent.all()) {
            while (left.hasNext()) {
                Movement movement = Delta.read(left.next().value).movement();
                sums.put(new Place(movement.merchantId(), movement.currency(), movement.minuteMs()), movement.amounts());
            }
        }
        OnFlush.<String, OrderState>forward(context, (StateStore) orders, this::sendStatus);
        context.schedule(Duration.ofMillis(config.commitIntervalMs()), PunctuationType.WALL_CLOCK_TIME, this::sendSums);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        RecordMetadata where = context.recordMetadata().orElseThrow();
        boolean ofOrders = where.topic().equals(ordersTopic);
        Event event;
        try {
            event = codec.decode(record.value(), ofOrders);
        } catch (Codec.Undecodable error) {
            sendDead(record, where, ofOrders, "undecodable", error.getMessage());
            return;
        }
        String refused = refusal(record, where, event);
        if (refused != null) {
            sendDead(record, where, ofOrders, "envelope", refused);
            return;
        }
        OrderState order = orders.get(event.orderId());
        boolean isNew = order == null;
        if (isNew) {
            order = new OrderState();
        }
        long dueBeforeMs = isNew ? Long.MAX_VALUE : rules.dueMs(order);
        long reachedMs = Math.max(ofOrders ? newestOrderMs : newestPaymentMs, watermarkMs);
        long oldestMs = Math.max(reachedMs - config.dedupHorizonMs(), 0);
        long overMs = Math.max(reachedMs - config.graceMs() - Config.MINUTE_MS, 0);
        said.clear();
        String outcome = rules.decide(order, event, oldestMs, overMs, said);
        if (outcome != null) {
            if (!outcome.equals(Rules.DUPLICATE)) {
                sendDead(record, where, ofOrders, "rule", outcome);
            }
            return;
        }
        note(event, ofOrders);
        orders.put(event.orderId(), order);
        follow(event.orderId(), dueBeforeMs, rules.dueMs(order));
        send(said, record.timestamp());
        if (nextTimerMs <= watermarkMs) {
            fire(record.timestamp());
        }
    }

    private String refusal(Record<byte[], byte[]> record, RecordMetadata where, Event event) {
        if (record.key() == null) {
            return "key_missing";
        }
        byte[] wanted = event.orderId().getBytes(StandardCharsets.UTF_8);
        if (!Arrays.equals(record.key(), wanted)) {
            return "key_mismatch";
        }
        if (where.partition() != partitionOf(wanted)) {
            return "misrouted";
        }
        return event.occurredAtMs() - record.timestamp() > config.futureMaxMs() ? "from_the_future" : null;
    }

    private static int partitionOf(byte[] key) {
        return Utils.toPositive(Utils.murmur2(key)) % Config.PARTITIONS;
    }

    // Time.

    private void note(Event event, boolean ofOrders) {
        if (event.occurredAtMs() <= (ofOrders ? newestOrderMs : newestPaymentMs)) {
            return;
        }
        if (ofOrders) {
            newestOrderMs = event.occurredAtMs();
        } else {
            newestPaymentMs = event.occurredAtMs();
        }
        watermarkMs = Math.max(watermarkMs, Math.min(newestOrderMs, newestPaymentMs));
        saveClock();
    }

    private void saveClock() {
        byte[] times = new byte[32];
        Binary.putLong(times, 0, newestOrderMs);
        Binary.putLong(times, 8, newestPaymentMs);
        Binary.putLong(times, 16, watermarkMs);
        Binary.putLong(times, 24, toldMs);
        clock.put(CLOCK_KEY, times);
    }

    private void follow(String orderId, long beforeMs, long afterMs) {
        if (beforeMs == afterMs) {
            return;
        }
        if (beforeMs != Long.MAX_VALUE) {
            timers.delete(timerKey(beforeMs, orderId));
        }
        if (afterMs != Long.MAX_VALUE) {
            timers.put(timerKey(afterMs, orderId), NOTHING);
            nextTimerMs = Math.min(nextTimerMs, afterMs);
        }
    }

    /** Do what is due by the watermark, the longest due first, and note when the next is. */
    private void fire(long timestamp) {
        while (true) {
            byte[] first;
            try (KeyValueIterator<Bytes, byte[]> due = timers.all()) {
                first = due.hasNext() ? due.next().key.get() : null;
            }
            nextTimerMs = first == null ? Long.MAX_VALUE : Binary.getLong(first, 0);
            if (nextTimerMs > watermarkMs) {
                return;
            }
            String orderId = new String(first, 8, first.length - 8, StandardCharsets.UTF_8);
            OrderState order = orders.get(orderId);
            OrderState before = orders.get(orderId);
            said.clear();
            boolean isLeft = rules.wake(order, orderId, watermarkMs, said);
            if (before.placed != null && !before.seen.isEmpty() && order.seen.isEmpty()) {
                sendStatus(orderId, before); // what the cache gives up from now on is the closed order, which says nothing
            }
            orders.put(orderId, isLeft ? order : null);
            timers.delete(Bytes.wrap(first));
            follow(orderId, Long.MAX_VALUE, isLeft ? rules.dueMs(order) : Long.MAX_VALUE);
            send(said, timestamp);
        }
    }

    private static Bytes timerKey(long dueMs, String orderId) {
        byte[] id = orderId.getBytes(StandardCharsets.UTF_8);
        byte[] key = new byte[8 + id.length];
        Binary.putLong(key, 0, dueMs);
        System.arraycopy(id, 0, key, 8, id.length);
        return Bytes.wrap(key);
    }

    // Sending.

    private void send(Said said, long timestamp) {
        for (Movement movement : said.movements) {
            add(movement);
        }
        for (SpecificRecord row : said.rows) {
            if (row instanceof tally.RevenueAdjustment) {
                tally.RevenueAdjustment it = (tally.RevenueAdjustment) row;
                Map<String, String> dimensions = it.getDimensions();
                byte[] key = Rows.key(dimensions.get("merchant_id"), dimensions.get("currency"), it.getMinute().toEpochMilli());
                forward(key, Out.byKey(codec.encode(row)), timestamp, "revenue-adjustments");
            } else {
                String child = row instanceof tally.UnpaidOrder ? "unpaid-orders" : "unmatched-payments";
                byte[] key = row.get(row.getSchema().getField("order_id").pos()).toString().getBytes(StandardCharsets.UTF_8);
                forward(key, Out.byKey(codec.encode(row)), timestamp, child);
            }
        }
    }

    private void add(Movement movement) {
        Place place = new Place(movement.merchantId(), movement.currency(), movement.minuteMs());
        long[] known = sums.get(place);
        if (known == null) {
            sums.put(place, known = movement.amounts().clone());
        } else {
            for (int at = 0; at < known.length; at++) {
                known[at] += movement.amounts()[at];
            }
        }
        Movement summed = new Movement(place.merchantId, place.currency, place.minuteMs, known);
        unsent.put(sumKey(place), Delta.bytes(new Delta(summed, 0, 0)));
    }

    /** Send what was added since the last time, and behind it how far the task is: nothing is late by its own watermark. */
    private void sendSums(long nowMs) {
        for (Map.Entry<Place, long[]> each : sums.entrySet()) {
            Place place = each.getKey();
            Movement movement = new Movement(place.merchantId, place.currency, place.minuteMs, each.getValue());
            int partition = partitions.computeIfAbsent(
                    place.merchantId, merchantId -> partitionOf(merchantId.getBytes(StandardCharsets.UTF_8)));
            byte[] key = place.merchantId.getBytes(StandardCharsets.UTF_8);
            forward(key, new Out(Delta.bytes(new Delta(movement, 0, 0)), partition), nowMs, "revenue-deltas");
            unsent.delete(sumKey(place));
        }
        sums.clear();
        long tellMs = watermarkMs - watermarkMs % TOLD_MS;
        if (tellMs > toldMs) {
            toldMs = tellMs;
            saveClock();
            Delta delta = new Delta(null, context.taskId().partition(), tellMs);
            forward(NOTHING, new Out(Delta.bytes(delta), Out.TO_ALL), nowMs, "revenue-deltas");
        }
    }

    private static Bytes sumKey(Place place) {
        byte[] text = (place.merchantId + '\0' + place.currency).getBytes(StandardCharsets.UTF_8);
        byte[] key = new byte[8 + text.length];
        Binary.putLong(key, 0, place.minuteMs);
        System.arraycopy(text, 0, key, 8, text.length);
        return Bytes.wrap(key);
    }

    private void sendStatus(String orderId, OrderState order) {
        if (order.placed != null && !order.seen.isEmpty()) {
            byte[] value = codec.encode(Rows.status(orderId, order));
            byte[] key = orderId.getBytes(StandardCharsets.UTF_8);
            forward(key, Out.byKey(value), context.currentSystemTimeMs(), "order-status");
        }
    }

    private void sendDead(Record<byte[], byte[]> record, RecordMetadata where, boolean ofOrders, String kind, String reason) {
        Headers headers = new RecordHeaders(record.headers().toArray());
        header(headers, "__streams.errors.topic", where.topic());
        header(headers, "__streams.errors.partition", String.valueOf(where.partition()));
        header(headers, "__streams.errors.offset", String.valueOf(where.offset()));
        header(headers, "__tally.errors.class", kind);
        header(headers, "__tally.errors.reason", reason);
        Record<byte[], Out> letter = new Record<>(record.key(), Out.byKey(record.value()), record.timestamp(), headers);
        context.forward(letter, ofOrders ? "orders.dlq" : "payments.dlq");
    }

    private static void header(Headers headers, String name, String text) {
        headers.add(name, text.getBytes(StandardCharsets.UTF_8));
    }

    private void forward(byte[] key, Out out, long timestamp, String child) {
        context.forward(new Record<>(key, out, timestamp), child);
    }
}
