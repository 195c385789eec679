"""Replay of quarantined records: which ones, their raw bytes, and what became of them.

A replayed record goes to the dataset's replay topic with two headers: where it first came from, and which run
sent it. The stream judges it like any record, and bronze keeps the headers with the verdict: so whether a
quarantine row is open is read from bronze, and nothing in quarantine is ever updated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from medallion_contracts.model import INCARNATION, Dataset
from medallion_ops.lake_settings import LakeSettings
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from medallion_store.lake_reading import lake_reading
from medallion_store.record_origin import Origin

if TYPE_CHECKING:
    import pyarrow.dataset as pa_dataset

    from medallion_ops.producer.records import Record

ORIGIN_HEADER = "medallion-origin"
"""topic/partition/offset of the quarantined record, and its incarnation where that is not 0."""
RUN_HEADER = "medallion-replay"
"""The run that sent it."""
TRY_HEADER = "medallion-replay-try"
"""Which try of the run's task sent it, counted from 1."""

LATE = "late"
"""Chosen like a reason: late records have a verdict of that name and no reason."""

SETTLED = ("silver", "duplicate")
"""Verdicts after which a record need not be replayed again: its content is in silver."""


@dataclass(frozen=True)
class Selection:
    """Which quarantine rows: with any of the reasons (none: all), by Kafka's time, `until` exclusive."""

    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, verdict: str, reasons: list[str]) -> bool:
        """Whether a row of this verdict and reasons is chosen."""
        named = {*reasons, LATE} if verdict == LATE else set(reasons)
        return not self.reasons or not self.reasons.isdisjoint(named)


@dataclass(frozen=True)
class Judged:
    """A verdict on a replayed record: on which, sent by which run, by which try of its task."""

    origin: str
    run: str
    attempt: str
    verdict: str
    reasons: tuple[str, ...]


class Quarantine:
    """The quarantine of one dataset, with what bronze says of its replays.

    Only records of the dataset's own topic are replayed: what comes back rejected from the replay topic is
    the same record again.
    """

    def __init__(self, lake: LakeSettings, dataset: Dataset) -> None:
        self._lake = lake
        self._dataset = dataset
        self._paths = LakePaths(lake.uri, dataset.name)

    def count(self, selection: Selection) -> dict[str, int]:
        """Open rows by reason; a row with several reasons counts for each, `rows` is their number."""
        counts: Counter[str] = Counter()
        for row in self._open_rows(selection, with_bytes=False):
            counts["rows"] += 1
            counts.update(row["reasons"] or [row["verdict"]])
        return {"rows": counts.pop("rows", 0), **dict(sorted(counts.items()))}

    def records(self, selection: Selection, run: str, attempt: int = 1) -> Iterator[Record]:
        """The raw bytes of the open rows, as they go to the replay topic.

        Args:
            selection: Which rows.
            run: The run that sends them.
            attempt: Which try of its task.
        """
        from medallion_ops.producer.records import Record

        for row in self._open_rows(selection, with_bytes=True):
            origin = _origin(row)
            headers = (
                (ORIGIN_HEADER, str(origin).encode()),
                (RUN_HEADER, run.encode()),
                (TRY_HEADER, str(attempt).encode()),
            )
            yield Record(row["key"], row["value"], headers)

    def judged(self, *, since: date | None = None) -> Iterator[Judged]:
        """Verdicts on replayed records that bronze took in on or after `since`, the oldest first."""
        import pyarrow.dataset as pa_dataset

        of_replays = pa_dataset.field("topic") == self._dataset.replay_topic
        if since is not None:
            of_replays &= pa_dataset.field("ingest_date") >= since
        bronze = self._table(self._paths.bronze)
        if bronze is None:
            return
        columns = ["partition", "offset", "headers", "verdict", "reasons"]
        found = bronze.to_table(columns=columns, filter=of_replays)
        for row in found.sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist():
            headers = _headers(row["headers"])
            if ORIGIN_HEADER in headers:
                run, attempt = headers.get(RUN_HEADER, ""), headers.get(TRY_HEADER, "")
                reasons = tuple(row["reasons"] or ())
                yield Judged(headers[ORIGIN_HEADER], run, attempt, row["verdict"], reasons)

    def _open_rows(self, selection: Selection, *, with_bytes: bool) -> Iterator[Mapping[str, Any]]:
        quarantine = self._table(self._paths.quarantine)
        if quarantine is None:
            return
        settled = {judged.origin for judged in self.judged() if judged.verdict in SETTLED}
        columns = [
            "topic",
            "partition",
            "offset",
            "verdict",
            "reasons",
            *(("key", "value") if with_bytes else ()),
        ]
        if INCARNATION in quarantine.schema.names:  # a table of an earlier release has one log a topic
            columns.append(INCARNATION)
        # Records of 1 MB: a few at a time, and none ahead of those.
        few = {"batch_size": 16, "batch_readahead": 1, "fragment_readahead": 1} if with_bytes else {}
        for batch in quarantine.to_batches(columns=columns, filter=self._filter(selection), **few):
            for row in batch.to_pylist():
                origin = str(_origin(row))
                if origin not in settled and selection.takes(row["verdict"], row["reasons"] or []):
                    yield row

    def _filter(self, selection: Selection) -> pa_dataset.Expression:
        import pyarrow.dataset as pa_dataset

        wanted = pa_dataset.field("topic") == self._dataset.topic
        if selection.since is not None:
            wanted &= pa_dataset.field("timestamp") >= selection.since
        if selection.until is not None:
            wanted &= pa_dataset.field("timestamp") < selection.until
        return wanted

    def _table(self, path: str) -> pa_dataset.Dataset | None:
        """The table as it is now; None before the stream made it."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        storage = delta_storage_options(self._lake.login)
        try:
            with lake_reading(path, storage):
                return DeltaTable(path, storage_options=storage).to_pyarrow_dataset()
        except TableNotFoundError:
            return None


def judged_of_try(judged: Iterable[Judged], run: str, attempt: int) -> int:
    """How many records have a verdict, of those that one try of a run sent."""
    return len({one.origin for one in judged if one.run == run and one.attempt == str(attempt)})


def outcome(judged: Iterable[Judged], run: str) -> dict[str, Any]:
    """What became of the records of all tries of a run: how many are accepted, known, still rejected, why.

    A record that a retried task sent twice has several verdicts, in any order, as it may have gone to another
    partition: it was accepted if any of them says so, and is a duplicate of itself then.
    """
    best: dict[str, Judged] = {}
    for one in judged:
        if one.run == run and _rank(one) < _rank(best.get(one.origin)):
            best[one.origin] = one
    verdicts = Counter(one.verdict for one in best.values())
    reasons = Counter(reason for one in best.values() for reason in one.reasons)
    return {
        "judged": len(best),
        "accepted": verdicts["silver"],
        "duplicate": verdicts["duplicate"],
        "still_rejected": verdicts["rejected"] + verdicts["late"],
        "reasons": dict(sorted(reasons.items())),
    }


def _rank(one: Judged | None) -> int:
    if one is None:
        return len(SETTLED) + 1
    return SETTLED.index(one.verdict) if one.verdict in SETTLED else len(SETTLED)


def origin_of(record: Record) -> str:
    """Where a record to be replayed first was, as topic/partition/offset."""
    return dict(record.headers)[ORIGIN_HEADER].decode()


def _origin(row: Mapping[str, Any]) -> Origin:
    return Origin(row["topic"], row["partition"], row["offset"], row.get(INCARNATION) or 0)


def _headers(raw: list[Mapping[str, Any]] | None) -> dict[str, str]:
    # Anyone may write to the topic: what is no text is not ours.
    return {
        header["key"]: (header["value"] or b"").decode("utf-8", "replace")
        for header in raw or ()
        if header["key"] in (ORIGIN_HEADER, RUN_HEADER, TRY_HEADER)
    }
