package peer;

import java.util.function.BiConsumer;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.internals.InternalProcessorContext;
import org.apache.kafka.streams.processor.internals.ProcessorNode;
import org.apache.kafka.streams.state.internals.WrappedStateStore;

/**
 * Forwards a row when the cache gives it up: once per commit and key, as a KTable of the DSL does. The DSL's own forwarders
 * hang on the same listener; the Processor API has no other door to it.
 */
final class OnFlush {
    private OnFlush() {}

    @SuppressWarnings("unchecked")
    static <K, V> void forward(ProcessorContext<?, ?> context, StateStore store, BiConsumer<K, V> changed) {
        InternalProcessorContext<?, ?> internal = (InternalProcessorContext<?, ?>) context;
        ProcessorNode<?, ?, ?, ?> node = internal.currentNode();
        boolean caches = ((WrappedStateStore<StateStore, K, V>) store).setFlushListener(
                record -> {
                    if (record.value().newValue == null) {
                        return;
                    }
                    ProcessorNode<?, ?, ?, ?> before = internal.currentNode();
                    internal.setCurrentNode(node);
                    try {
                        changed.accept(record.key(), record.value().newValue);
                    } finally {
                        internal.setCurrentNode(before);
                    }
                },
                false);
        if (!caches) {
            throw new IllegalStateException(store.name() + " has no cache");
        }
    }
}
