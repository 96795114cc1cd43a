"""Errors of the runtime: sentences that say what to do, in one tree.

::

    TallyError           exit_code 1, not retriable
    ├── NotRunnable      exit_code 3: this machine lacks something; the sentence says what to install
    ├── NotAudited       exit_code 3: the books could not be looked at; the sentence says why, and they may balance or not
    ├── NoCluster        exit_code 2: no bootstrap servers are set and no local broker is up
    ├── MissingTopic     exit_code 2: a topic that is asked for is not there; the sentence says how to make it
    ├── SettingsError    exit_code 2: a variable or an option has a value that cannot be; the sentence says which can
    ├── RefusedError     exit_code 2: what was asked would do harm; nothing was changed
    ├── BrokerFailed     exit_code 1: the local broker died or did not answer in time
    ├── AnswerError      exit_code 1: a worker was asked for something and did not do it; the sentence says why
    ├── ClusterError     exit_code 1: the cluster refused or did not answer; retriable as Kafka says
    ├── RegistryAwayError     exit_code 1: the schema registry did not answer; retriable
    ├── RegistryRefusedError  exit_code 2: the schema registry does not take our schemas, or our login, or is none
    ├── InboxTakenError  exit_code 4: another operator took the dead letters over
    └── WorkerError      exit_code 1: a worker cannot go on; what it had not committed is redone by others
        ├── WorkerFencedError    exit_code 4: another worker uses the same id
        ├── ClientStuckError     exit_code 1: a call of Kafka's client does not return
        ├── WorkerIdInUseError   exit_code 4: another worker on this host holds the state folder
        ├── CoPartitionError     exit_code 2: topics that belong together differ in partitions
        └── MissingRightsError   exit_code 2: the cluster does not let the worker do its work; all that is missing is named

The commands print ``tally: <sentence>`` on standard error and end with ``exit_code``. Whatever is
not in this tree is a defect and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class TallyError(Exception):
    """An error with a sentence for its reader.

    ``exit_code`` is what a command ends with. ``retriable`` says whether the same call may succeed
    later with nothing changed by a human.
    """

    exit_code: ClassVar[int] = 1
    retriable: bool = False

    def __init__(self, sentence: str, *, retriable: bool | None = None) -> None:
        super().__init__(sentence)
        if retriable is not None:
            self.retriable = retriable


class NotRunnable(TallyError):  # noqa: N818 - the word of the verdict it leads to
    """This machine lacks what the command needs."""

    exit_code = 3


class NotAudited(TallyError):  # noqa: N818 - says what is the case
    """The books could not be looked at."""

    exit_code = 3


class NoCluster(TallyError):  # noqa: N818 - says what is the case
    """There is no cluster to talk to."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__("no cluster: run `tally broker up`, or set KAFKA_BOOTSTRAP_SERVERS")


class MissingTopic(TallyError):  # noqa: N818 - says what is the case
    """A topic that is asked for is not there."""

    exit_code = 2


class SettingsError(TallyError):
    """A setting has a value that cannot be."""

    exit_code = 2


class RefusedError(TallyError):
    """What was asked would do harm; nothing was changed."""

    exit_code = 2


class BrokerFailed(TallyError):  # noqa: N818 - says what happened
    """The local broker died or did not answer in time."""


class AnswerError(TallyError):
    """A worker that was asked for something did not do it, or did not answer."""


class ClusterError(TallyError):
    """The cluster refused, or did not answer."""


class RegistryAwayError(TallyError):
    """The schema registry did not answer, or not as one: nothing is known of what was asked."""

    retriable = True


class RegistryRefusedError(TallyError):
    """The schema registry does not take our schemas, or our login, or is none: waiting does not help."""

    exit_code = 2


class InboxTakenError(TallyError):
    """Another operator acts on the dead letters of this deployment."""

    exit_code = 4

    def __init__(self) -> None:
        super().__init__(
            "another `tally dlq` took the dead letters of this deployment over, so this one stopped; what it had done is noted. "
            "Wait for the other to end and run this again: it does only what is not done yet"
        )


class WorkerError(TallyError):
    """A worker cannot go on; what it had not committed is redone by others."""


class WorkerFencedError(WorkerError):
    """Another worker took over this worker's transactional id."""

    exit_code = 4


class ClientStuckError(WorkerError):
    """A call of Kafka's client does not return; only the end of the process ends it."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"Kafka's client has not returned for {after_s:.0f} s; what was not committed is redone")


class WorkerIdInUseError(WorkerError):
    """Another process on this host holds this worker's state folder."""

    exit_code = 4


class MissingRightsError(WorkerError):
    """The cluster does not let the worker do its work."""

    exit_code = 2

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"the cluster does not allow this worker: {'; '.join(missing)}. "
            "`tally topics acls --role worker` prints the commands that allow it"
        )


class CoPartitionError(WorkerError):
    """Topics of one stage differ in partitions, or are missing: one key would live in two tasks."""

    exit_code = 2
