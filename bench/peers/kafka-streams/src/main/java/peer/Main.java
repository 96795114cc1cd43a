package peer;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The main job on Kafka Streams. Runs until SIGTERM; exit code 0 then, 1 when it failed. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Config config = Config.read(Path.of(arguments[0]));
        KafkaStreams streams = new KafkaStreams(topology(config), properties(config));
        streams.setGlobalStateRestoreListener(new Restored());
        CountDownLatch failed = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            failed.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            boolean closed = streams.close(Duration.ofSeconds(10));
            Runtime.getRuntime().halt(failed.getCount() == 0 || !closed ? 1 : 0);
        }));
        streams.start();
        failed.await();
        System.exit(1);
    }

    static Topology topology(Config config) {
        String prefix = config.prefix();
        ByteArrayDeserializer in = new ByteArrayDeserializer();
        Topology topology = new Topology();
        topology.addSource("inputs", in, in, prefix + "orders", prefix + "payments");
        topology.addProcessor("settlement", () -> new Settlement(config), "inputs");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Settlement.ORDERS), Serdes.String(), OrderState.serde())
                        .withCachingEnabled(),
                "settlement");
        topology.addStateStore(store(Stores.persistentKeyValueStore(Settlement.TIMERS)), "settlement");
        topology.addStateStore(store(Stores.inMemoryKeyValueStore(Settlement.SUMS)), "settlement");
        topology.addStateStore(store(Stores.inMemoryKeyValueStore(Settlement.CLOCK)), "settlement");
        for (String name : new String[] {
            "order-status", "unpaid-orders", "unmatched-payments", "revenue-adjustments", "orders.dlq", "payments.dlq",
            "revenue-deltas"
        }) {
            sink(topology, name, prefix + name, "settlement");
        }
        topology.addSource("deltas", in, in, prefix + "revenue-deltas");
        topology.addProcessor("revenue", () -> new Revenue(config), "deltas");
        topology.addStateStore(store(Stores.persistentKeyValueStore(Revenue.WINDOWS)), "revenue");
        topology.addStateStore(store(Stores.inMemoryKeyValueStore(Revenue.HEARD)), "revenue");
        sink(topology, "revenue-by-merchant-1m", prefix + "revenue-by-merchant-1m", "revenue");
        sink(topology, "revenue-adjustments-final", prefix + "revenue-adjustments", "revenue");
        return topology;
    }

    private static void sink(Topology topology, String name, String topic, String parent) {
        topology.addSink(name, topic, new ByteArraySerializer(), Out.SERIALIZER, Out.PARTITIONER, parent);
    }

    private static StoreBuilder<KeyValueStore<Bytes, byte[]>> store(KeyValueBytesStoreSupplier supplier) {
        return Stores.keyValueStoreBuilder(supplier, Serdes.Bytes(), Serdes.ByteArray()).withCachingEnabled();
    }

    static Properties properties(Config config) {
        Properties said = new Properties();
        said.put(StreamsConfig.APPLICATION_ID_CONFIG, config.application());
        said.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, config.bootstrap());
        said.put(StreamsConfig.STATE_DIR_CONFIG, config.state());
        said.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        said.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, config.threads());
        said.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, config.commitIntervalMs());
        said.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, config.cacheBytes());
        said.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, BoundedRocksDb.class);
        said.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // The rules do not care which of two inputs comes first, so none is waited for.
        said.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, -1L);
        said.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        said.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), config.sessionTimeoutMs());
        said.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), config.sessionTimeoutMs() / 3);
        said.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 4_000);
        said.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        said.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 64L << 20);
        said.put(StreamsConfig.producerPrefix(ProducerConfig.MAX_REQUEST_SIZE_CONFIG), 4 << 20);
        return said;
    }
}
