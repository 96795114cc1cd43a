"""The local store of a task: one RocksDB, a column family per table, and in the default family what it stands for.

The write-ahead log is off: a crash loses what was not flushed, and the changelog has it. So the
store may be behind the committed changelog, and is never ahead of it (invariant I2).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from rocksdict import (
    BlockBasedOptions,
    Cache,
    ColumnFamily,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

_STANDS_FOR = b"stands-for"
ARENA_BLOCK_BYTES = 64 << 10
"""What a table's write buffer grows by. By RocksDB's own megabyte two dozen stores would fill a small budget with nothing."""
OWN_FILE_BYTES_MAX = 128 << 10
"""Of RocksDB's log of itself and of its list of files, before it begins another; left alone they grow with every flush."""

Changes = Mapping[str, Mapping[bytes, bytes | None]]
"""Table to key to value; None deletes."""


class StoreIdentity(msgspec.Struct, frozen=True):
    """Whose state it is. A store of another cluster, deployment or topic is not ours, whatever its offsets say."""

    cluster_id: str
    group_id: str
    changelog: str
    changelog_id: str


class StandsFor(msgspec.Struct, frozen=True):
    """What the store's contents stand for: the changelog up to ``changelog_offset`` (exclusive)."""

    identity: StoreIdentity
    changelog_offset: int
    applied_at_ms: int
    marker: bytes | None


class StoreResources:
    """Memory that all stores of a worker share: one block cache, and in it the write buffers of all of them."""

    def __init__(self, cache_bytes: int, write_buffer_bytes: int) -> None:
        self.cache = Cache(cache_bytes)
        self.write_buffers = WriteBufferManager.new_write_buffer_manager_with_cache(write_buffer_bytes, False, self.cache)  # noqa: FBT003


class Store:
    """One open RocksDB. Not thread-safe: its task hands it from thread to thread."""

    def __init__(self, folder: Path, tables: Sequence[str], resources: StoreResources) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        options = _options(resources)
        self._db = Rdict(str(folder), options, column_families={table: _options(resources) for table in tables})
        self._families: dict[str, Rdict] = {table: self._db.get_column_family(table) for table in tables}
        self._handles: dict[str, ColumnFamily] = {table: self._db.get_column_family_handle(table) for table in tables}
        self._no_wal = WriteOptions()
        self._no_wal.disable_wal = True  # type: ignore[method-assign, assignment]

    @property
    def stands_for(self) -> StandsFor | None:
        """Give what the contents stand for; None: nothing was ever applied."""
        value = self._db.get(_STANDS_FOR)
        return None if value is None else msgspec.msgpack.decode(value, type=StandsFor)

    def get_many(self, table: str, keys: list[bytes]) -> list[bytes | None]:
        """Give the value of each key, None where there is none."""
        found: list[bytes | None] = self._families[table].get(keys)  # type: ignore[assignment, arg-type]
        return found

    def keys_below(self, table: str, bound: bytes) -> Iterator[bytes]:
        """Give the keys that sort below ``bound``, smallest first."""
        until = ReadOptions()
        until.set_iterate_upper_bound(bound)
        yield from self._families[table].keys(read_opt=until)

    def apply(self, changes: Changes, stands_for: StandsFor) -> None:
        """Write changes and what the store stands for afterwards as one batch: both or neither survive."""
        batch = WriteBatch(raw_mode=True)
        for table, rows in changes.items():
            handle = self._handles[table]
            for key, value in rows.items():
                if value is None:
                    batch.delete(key, handle)
                else:
                    batch.put(key, value, handle)
        batch.put(_STANDS_FOR, msgspec.msgpack.encode(stands_for))
        self._db.write(batch, self._no_wal)

    def flush(self) -> None:
        """Write everything to disk; tables first, so that what the store stands for is never ahead of them."""
        for family in self._families.values():
            family.flush()
        self._db.flush()

    def close(self) -> None:
        """Flush and close; the folder can be opened again afterwards, also if flushing failed and that is raised."""
        try:
            self.flush()
        finally:
            self._handles.clear()
            for opened in (*self._families.values(), self._db):
                with suppress(Exception):  # it flushes again, and closes whatever comes of that
                    opened.close()
            self._families.clear()
            del self._db, opened  # RocksDB lets go of its lock with the last reference

    @staticmethod
    def destroy(folder: Path) -> None:
        """Delete a closed store's folder."""
        shutil.rmtree(folder, ignore_errors=True)


def _options(resources: StoreResources) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003
    options.create_missing_column_families(True)  # noqa: FBT003
    options.set_atomic_flush(True)
    options.set_write_buffer_manager(resources.write_buffers)
    options.set_arena_block_size(ARENA_BLOCK_BYTES)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(OWN_FILE_BYTES_MAX)
    options.set_max_manifest_file_size(OWN_FILE_BYTES_MAX)
    options.set_max_background_jobs(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(resources.cache)
    blocks.set_bloom_filter(10, False)  # noqa: FBT003 - 1 % false positives: a new key costs no disk read
    blocks.set_cache_index_and_filter_blocks(True)
    options.set_block_based_table_factory(blocks)
    return options
