"""How many records one batch may take, so that it stays within its share of the memory budget. Pure."""

from __future__ import annotations

from dataclasses import dataclass

RECORD_BYTES = 2_560
"""Of an epoch's record beside its bytes: message, event, row of the batch, state before and after, outputs."""
RECORD_BYTES_IN_COLUMNS = 300
"""The same where a stage takes columns, which leave little but the message as an object (bench/README.md, "Learnt")."""
IN_COLUMNS_MEMORY_MB_MIN = 256
"""Budgets that were measured to have room for epochs so large; with 128 MB a worker took 40 more than it may."""
MESSAGE_COPIES = 4
"""Of a message's bytes: as they came, decoded, in the state or a dead letter, and encoded."""
WRITTEN_COPIES = 3
"""Of written bytes: as they are, in the store's batch, and the state that they were made of."""
EPOCHS_IN_MEMORY = 3
"""Epochs that share the budget: one commits, the next one is decided, and the records behind it were polled."""
GROWTH = 2
"""A step asks for so many times what was taken: the first records say how large the others may be, and may be wrong."""


def record_bytes(memory_mb: int, *, in_columns: bool) -> int:
    """Give what a record of an epoch takes beside its bytes, for a worker with this budget."""
    return RECORD_BYTES_IN_COLUMNS if in_columns and memory_mb >= IN_COLUMNS_MEMORY_MB_MIN else RECORD_BYTES


@dataclass
class Room:
    """At most ``records_max`` records, and as many as the share has room for; never none.

    ``written_bytes`` is what a record of the last epochs wrote: an epoch of orders with a thousand events each
    writes thousands of times what came in, so it takes fewer of them.
    """

    share_bytes: int
    records_max: int
    record_bytes: int = RECORD_BYTES
    written_bytes: float = 0.0

    def next_step(self, records_count: int, message_bytes: int) -> int:
        """Give how many more records to ask for, of the mean size so far; 0 when the batch is full.

        Args:
            records_count: taken so far.
            message_bytes: keys and values of them.
        """
        if not records_count:
            return 1
        room = self._records_max(records_count, message_bytes) - records_count
        return max(min(room, GROWTH * records_count), 0)

    def is_half_full(self, records_count: int, message_bytes: int) -> bool:
        """Tell whether so many records fill at least half of it."""
        return records_count > 0 and 2 * records_count >= self._records_max(records_count, message_bytes)

    def _records_max(self, records_count: int, message_bytes: int) -> int:
        """Give how many records of this mean size there is room for."""
        each_bytes = self.record_bytes + WRITTEN_COPIES * self.written_bytes + MESSAGE_COPIES * message_bytes / records_count
        return min(int(self.share_bytes / each_bytes), self.records_max)

    def learn(self, records_count: int, written_bytes: int) -> None:
        """Take note of what an epoch wrote: up at once, down by halves."""
        if records_count:
            mean_bytes = written_bytes / records_count
            self.written_bytes = max(mean_bytes, (self.written_bytes + mean_bytes) / 2)
