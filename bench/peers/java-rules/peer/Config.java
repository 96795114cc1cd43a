package peer;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;

/** What the harness tells this peer. Times are milliseconds. */
record Config(
        String bootstrap, String prefix, String application, String state, int threads, int commitIntervalMs, int sessionTimeoutMs,
        long cacheBytes, Set<String> currencies, long dedupHorizonMs, long waitingMaxMs, long graceMs, long unpaidAfterMs, long keepClosedMs,
        long futureMaxMs, Map<String, Integer> schemaIds) {

    static final int PARTITIONS = 12;
    static final long MINUTE_MS = 60_000;
    static final long HOUR_MS = 60 * MINUTE_MS;

    static Config read(Path file) throws IOException {
        Properties said = new Properties();
        try (Reader reader = Files.newBufferedReader(file)) {
            said.load(reader);
        }
        Map<String, Integer> ids = new HashMap<>();
        for (String name : said.stringPropertyNames()) {
            if (name.startsWith("schema.")) {
                ids.put(name.substring("schema.".length()), Integer.valueOf(said.getProperty(name)));
            }
        }
        return new Config(
                said.getProperty("bootstrap"), said.getProperty("prefix"), said.getProperty("application"),
                said.getProperty("state"), Integer.parseInt(said.getProperty("threads")),
                Integer.parseInt(said.getProperty("commit_interval_ms")),
                Integer.parseInt(said.getProperty("session_timeout_ms")), number(said, "cache_bytes"),
                new HashSet<>(List.of(said.getProperty("currencies").split(","))), number(said, "dedup_horizon_ms"),
                number(said, "waiting_max_ms"), number(said, "grace_ms"), number(said, "unpaid_after_ms"),
                number(said, "keep_closed_ms"), number(said, "future_max_ms"), ids);
    }

    private static long number(Properties said, String name) {
        return Long.parseLong(said.getProperty(name));
    }
}
