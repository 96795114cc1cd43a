"""How long it takes until others have taken over the tasks of a worker that dies, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass

RESTORED_PER_S = 50_000
"""Changelog records that a restore reads until this worker has measured it: on a busy machine; a quiet one reads more."""
MEASURED_RECORDS_MIN = 20_000
"""A smaller restore measures connections and not reading."""


@dataclass(frozen=True)
class Wait:
    """A time that has to pass, in milliseconds, and where it comes from."""

    ms: int
    origin: str


@dataclass(frozen=True)
class Takeover:
    """What a takeover is made of. The transaction's time-out runs while the group still waits for the worker."""

    session: Wait
    transaction: Wait
    scan: Wait
    changelog_records: int
    restored_per_s: int
    is_measured: bool

    @property
    def seconds(self) -> float:
        """The whole of it, at most."""
        return max(self.session.ms, self.transaction.ms + self.scan.ms) / 1000 + self.restore_s

    @property
    def restore_s(self) -> float:
        """What the restore takes on a worker that has nothing of these tasks."""
        return self.changelog_records / self.restored_per_s

    @property
    def sentence(self) -> str:
        """Say it to an operator."""
        rate = "as measured here" if self.is_measured else "an assumption until a restore is measured"
        return (
            f"a takeover of this worker's tasks takes about {self.seconds:.0f} s: {self.session.ms / 1000:g} s until the group "
            f"gives a silent worker up ({self.session.origin}), while the cluster ends its open transaction within "
            f"{(self.transaction.ms + self.scan.ms) / 1000:g} s ({self.transaction.origin}, {self.scan.origin}); then "
            f"~{self.restore_s:.0f} s to restore {self.changelog_records:,} records ({self.restored_per_s:,} a second, {rate})"
        )


def restore_rate(records: int, seconds: float) -> tuple[int, bool]:
    """Give the records a second, and whether they were measured, from the records and seconds of the restores until now."""
    if records >= MEASURED_RECORDS_MIN and seconds > 0:
        return max(round(records / seconds), 1), True
    return RESTORED_PER_S, False
