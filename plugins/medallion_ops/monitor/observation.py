"""What the monitor saw at one moment: plain values, so that the rules need nothing else.

Durations are seconds. None means that there is nothing to see (yet); what could not be asked is named in
`unreachable`, and the rules are silent about everything that depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Counts:
    """Records of the micro-batches of a period, by verdict."""

    read: int = 0
    silver: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    lost: int = 0
    gaps: int = 0
    unbalanced: int = 0

    def __add__(self, other: Counts) -> Counts:
        """The records of both periods."""
        mine, others = vars(self), vars(other)
        return Counts(**{name: mine[name] + others[name] for name in mine})

    @property
    def complete_percent(self) -> float:
        """Records read among those that were there to be read; 100 when there were none."""
        return 100 * self.read / (self.read + self.lost) if self.read + self.lost else 100.0

    @property
    def quarantined_share(self) -> float:
        """Late and rejected records among those read; 0 when none was read."""
        return (self.late + self.rejected) / self.read if self.read else 0.0


@dataclass(frozen=True)
class TopicState:
    """A topic on the broker. `keeps_seconds` is its retention, None for ever or unknown."""

    name: str
    is_there: bool
    keeps_seconds: float | None = None


@dataclass(frozen=True)
class StreamObservation:
    """A dataset's stream.

    `batch_idle` is for how long no Spark task of the batch under way has finished; `backlog_age` the age of
    the oldest record not yet in the ledger, 0 for none, None where that is not known. `held_back` are offsets
    that open transactions keep from being read; `has_other_log` is whether the stream found another log
    behind a topic. `topics` are the one it reads and its replay topic;
    `shrunk` are partitions that end before what the ledger has read.
    """

    heartbeat_age: float | None = None
    state: str | None = None
    batch_age: float | None = None
    batch_idle: float | None = None
    stop_request_age: float | None = None
    stop_requested_by: str | None = None
    failure: str | None = None
    failure_kind: str | None = None
    backlog_records: int | None = None
    backlog_age: float | None = None
    latency_p95: float | None = None
    silence: float | None = None
    recent: Counts = field(default_factory=Counts)
    last_day: Counts = field(default_factory=Counts)
    topics: tuple[TopicState, ...] = ()
    shrunk: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    held_back: int = 0
    held_back_age: float | None = None
    has_other_log: bool = False


@dataclass(frozen=True)
class GoldObservation:
    """A dataset's gold. `pending_age` is the age of the oldest silver commit not published, 0 for none.

    `failed_runs` is how many of the newest ended runs failed without one in between that did not;
    `unreadable` what keeps readers from it.
    """

    pending_age: float | None = None
    run_age: float | None = None
    question_age: float | None = None
    question_minutes_left: float | None = None
    label_source_problem: str | None = None
    failed_runs: int | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetObservation:
    """Everything about one dataset."""

    dataset: str
    stream: StreamObservation = field(default_factory=StreamObservation)
    gold: GoldObservation = field(default_factory=GoldObservation)


@dataclass(frozen=True)
class Disk:
    """A file system that the platform writes to."""

    name: str
    free_percent: float


@dataclass(frozen=True)
class Expiry:
    """A certificate or token and when it runs out, UTC."""

    name: str
    at: datetime


@dataclass(frozen=True)
class Observation:
    """The whole platform at `now` (UTC). `unreachable` maps what could not be asked to the reason."""

    now: datetime
    datasets: tuple[DatasetObservation, ...] = ()
    paused_dags: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    outbox_age: float = 0.0
    mail_path_problem: str | None = None
    unreachable: Mapping[str, str] = field(default_factory=dict)
