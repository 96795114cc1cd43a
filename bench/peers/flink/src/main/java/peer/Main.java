package peer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.state.rocksdb.RocksDBConfigurableOptions;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;

/**
 * The main job on Flink: job manager and one task manager in this process. Begins with the newest checkpoint in its folder if there
 * is one. Runs until SIGTERM; exit code 0 then, 1 when it failed.
 */
public final class Main {
    private static final long CLOSE_S = 10;
    private static final String TRANSACTION_TIMEOUT_MS = "60000";

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        String configFile = arguments[0];
        Config config = Config.read(Path.of(configFile));
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(config.threads(), configuration(config));
        declare(environment, config, configFile);
        JobClient job = environment.executeAsync("main job");
        CompletableFuture<JobExecutionResult> ended = job.getJobExecutionResult();
        AtomicBoolean isAsked = new AtomicBoolean();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            isAsked.set(true);
            job.cancel();
            Runtime.getRuntime().halt(hasEnded(ended) ? 0 : 1);
        }));
        ended.whenComplete((result, error) -> {
            if (!isAsked.get()) { // it never ends by itself
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        });
        Thread.currentThread().join();
    }

    private static boolean hasEnded(CompletableFuture<JobExecutionResult> ended) {
        try {
            ended.handle((result, error) -> true).get(CLOSE_S, TimeUnit.SECONDS);
            return true;
        } catch (InterruptedException | ExecutionException | TimeoutException error) {
            error.printStackTrace();
            return false;
        }
    }

    private static void declare(StreamExecutionEnvironment environment, Config config, String configFile) {
        String prefix = config.prefix();
        Integer[] keys = Keys.of(config.threads());
        KafkaSource<byte[]> inputs = KafkaSource.<byte[]>builder()
                .setBootstrapServers(config.bootstrap())
                .setTopics(prefix + "orders", prefix + "payments")
                .setGroupId(config.application())
                .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
                .setDeserializer(new Input.Schema(prefix + "orders"))
                .setProperty("commit.offsets.on.checkpoint", "false") // Progress does
                .setProperty("max.poll.records", "4000")
                .setProperty("isolation.level", "read_committed")
                .build();
        SingleOutputStreamOperator<Out> settled = environment
                .fromSource(inputs, WatermarkStrategy.noWatermarks(), "inputs")
                .uid("inputs")
                .keyBy(packed -> keys[Input.partition(packed)])
                .transform("settlement", TypeInformation.of(Out.class), new Settlement(configFile))
                .uid("settlement");
        settled.sinkTo(sink(config, "settlement")).uid("settlement-sink");
        settled.getSideOutput(Settlement.DELTAS)
                .keyBy((Tuple2<Integer, byte[]> delta) -> keys[delta.f0])
                .transform("revenue", TypeInformation.of(Out.class), new Revenue(configFile))
                .uid("revenue")
                .sinkTo(sink(config, "revenue"))
                .uid("revenue-sink");
    }

    private static KafkaSink<Out> sink(Config config, String stage) {
        return KafkaSink.<Out>builder()
                .setBootstrapServers(config.bootstrap())
                .setRecordSerializer(new Out.Schema(config.prefix()))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(config.application() + "-" + stage)
                .setProperty("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
                .setProperty("batch.size", String.valueOf(256 << 10))
                .setProperty("linger.ms", "50")
                .setProperty("buffer.memory", String.valueOf(32 << 20))
                .setProperty("max.request.size", String.valueOf(4 << 20))
                .build();
    }

    private static Configuration configuration(Config config) throws IOException {
        Configuration said = new Configuration();
        Path checkpoints = Path.of(config.state(), "checkpoints");
        said.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(config.commitIntervalMs()));
        said.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        said.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
        said.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION, ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        said.set(CoreOptions.TMP_DIRS, Files.createDirectories(Path.of(config.state(), "work")).toString());
        said.set(StateBackendOptions.STATE_BACKEND, "rocksdb");
        said.set(RocksDBConfigurableOptions.USE_BLOOM_FILTER, true);
        said.set(PipelineOptions.OBJECT_REUSE, true);
        said.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, new MemorySize(config.cacheBytes()));
        said.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(32));
        said.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(32));
        said.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
        newest(checkpoints).ifPresent(path -> said.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));
        return said;
    }

    /** Give the newest checkpoint that is complete: it has its metadata. */
    private static Optional<Path> newest(Path checkpoints) throws IOException {
        if (!Files.isDirectory(checkpoints)) {
            return Optional.empty();
        }
        try (Stream<Path> all = Files.walk(checkpoints, 3)) {
            return all.filter(path -> path.getFileName().toString().equals("_metadata"))
                    .max(Comparator.comparingLong(path -> path.toFile().lastModified()))
                    .map(Path::getParent);
        }
    }
}
