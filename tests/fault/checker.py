"""Reads a dataset's lake back, coordinate by coordinate, and compares it with the topic itself.

The checker shares nothing with the job but the contract and the plain-Python judge: what a silver row must
hold is computed here again from the record's bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable
from fault.topic_log import COORDINATES

from medallion_contracts import reasons
from medallion_contracts.judge import EventJudge
from medallion_contracts.model import Dataset
from medallion_store.lake_paths import LakePaths

VERDICTS = ("silver", "duplicate", "late", "rejected")


@dataclass
class Report:
    """What a check found; `findings` name at most a few examples of each kind."""

    records: int
    lost: int = 0
    duplicated: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing twice, nothing else wrong."""
        return not (self.lost or self.duplicated or self.findings)

    def note(self, what: str, rows: pd.DataFrame | pd.Index) -> int:
        """Count rows that should not be; says where the first of them are."""
        if len(rows):
            frame = rows.to_frame() if isinstance(rows, pd.Index) else rows
            columns = [name for name in COORDINATES if name in frame.columns]
            examples = [tuple(row) for row in frame[columns].head(3).itertuples(index=False)]
            self.findings.append(f"{what}: {len(rows)} rows, e.g. {examples}")
        return len(rows)


@dataclass(frozen=True)
class Lake:
    """The tables of a dataset, with Kafka coordinates called COORDINATES in each."""

    bronze: pd.DataFrame
    silver: pd.DataFrame
    quarantine: pd.DataFrame
    ledger: pd.DataFrame


def read_lake(paths: LakePaths, *, with_values: bool = True) -> Lake:
    """All rows of the four tables; a table that does not exist yet has none."""
    content = () if with_values else ("key", "value", "headers")
    return Lake(
        bronze=_read(paths.bronze, without=content),
        silver=_read(paths.silver),
        quarantine=_read(paths.quarantine, without=content),
        ledger=_read(paths.ledger),
    )


def _read(path: str, without: Iterable[str] = ()) -> pd.DataFrame:
    if not DeltaTable.is_deltatable(path):
        return pd.DataFrame(columns=[*COORDINATES, "verdict", "reasons"])
    table = DeltaTable(path)
    columns = [column.name for column in table.schema().fields if column.name not in without]
    frame: pd.DataFrame = pa.table(table.to_pyarrow_table(columns=columns)).to_pandas()
    frame = frame.rename(columns={f"_{name}": name for name in COORDINATES})
    if "incarnation" in frame.columns:
        frame["incarnation"] = frame["incarnation"].fillna(0).astype(int)
    return frame


def check(log: pd.DataFrame, lake: Lake, dataset: Dataset, *, are_verdicts_first: bool = True) -> Report:
    """Compare the lake with the topics' records.

    Args:
        log: `read_topics` of all the dataset's topics.
        lake: `read_lake` of the same moment; the stream has caught up and does not run.
        dataset: today's contract.
        are_verdicts_first: whether bronze still has the verdicts the ledger counted (no judge-again since).
    """
    report = Report(len(log))
    if len(log) != len(lake.bronze) or not len(log):
        report.findings.append(f"the topics have {len(log)} records, bronze {len(lake.bronze)}")
    _check_coordinates(report, "bronze", log, lake.bronze)
    verdicts = _final_verdicts(report, lake)
    _check_coordinates(report, "silver", verdicts[verdicts["verdict"] == "silver"], lake.silver)
    kept = verdicts[verdicts["verdict"].isin(["late", "rejected"])]
    _check_coordinates(report, "quarantine", kept, lake.quarantine)
    _check_versions(report, lake, dataset)
    if "value" in log.columns:
        _check_bytes(report, "bronze", log, lake.bronze, ["key", "value", "headers", "timestamp"])
        _check_bytes(report, "quarantine", log, lake.quarantine, ["key", "value"])
        _check_silver_values(report, lake, dataset)
    for problem in _ledger_problems(log, lake, verdicts if are_verdicts_first else None):
        report.findings.append(problem)
    return report


def _indexed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(COORDINATES, drop=False)


def _check_coordinates(report: Report, table: str, wanted: pd.DataFrame, found: pd.DataFrame) -> None:
    wanted_at, found_at = _indexed(wanted).index, _indexed(found).index
    report.lost += report.note(f"{table} lacks", wanted_at.difference(found_at))
    report.duplicated += report.note(f"{table} has more than once", found[found.duplicated(COORDINATES)])
    report.note(f"{table} has rows that it should not", found_at.unique().difference(wanted_at))


def _final_verdicts(report: Report, lake: Lake) -> pd.DataFrame:
    """Bronze's verdicts, but `rejected` where today's contract could no longer make the silver row."""
    bronze = lake.bronze
    report.note("bronze has unknown verdicts", bronze[~bronze["verdict"].isin(VERDICTS)])
    is_rejected = bronze["verdict"] == "rejected"
    has_reasons = bronze["reasons"].map(len) > 0
    report.note(
        "rejected without a reason, or a reason without rejection", bronze[is_rejected != has_reasons]
    )
    gone = lake.quarantine[_is_changed(lake)]
    verdicts = _indexed(bronze)[[*COORDINATES, "_query_id", "_batch_id", "verdict"]].copy()
    changed = verdicts.index.isin(_indexed(gone).index) & (verdicts["verdict"] == "silver")
    verdicts.loc[changed, "verdict"] = "rejected"
    return verdicts


def _is_changed(lake: Lake) -> pd.Series[bool]:
    return lake.quarantine["reasons"].map(lambda given: reasons.CONTRACT_CHANGED in given).astype(bool)


def _check_bytes(
    report: Report, table: str, log: pd.DataFrame, found: pd.DataFrame, columns: list[str]
) -> None:
    both = found.merge(log, on=COORDINATES, suffixes=("_found", "_sent"))
    for name in columns:
        present = both[f"{name}_found"].map(_PLAIN.get(name, _plain))
        sent = both[f"{name}_sent"].map(_PLAIN.get(name, _plain))
        report.note(f"{table} has another {name} than was sent", both[present.ne(sent)])


def _plain(value: Any) -> bytes | None:
    return None if value is None or value is pd.NaT or value != value else bytes(value)


def _plain_headers(value: Any) -> tuple[tuple[str, bytes | None], ...]:
    if value is None or (isinstance(value, float) and value != value):
        return ()
    pairs = (tuple(entry.values()) if isinstance(entry, dict) else tuple(entry) for entry in value)
    return tuple((str(key), _plain(content)) for key, content in pairs)


def _plain_time(value: Any) -> int:
    return int(value.timestamp() * 1000) if isinstance(value, pd.Timestamp) else int(value)


_PLAIN: dict[str, Any] = {"headers": _plain_headers, "timestamp": _plain_time}


def _check_versions(report: Report, lake: Lake, dataset: Dataset) -> None:
    """Silver has each version once."""
    if len(lake.silver):
        twice = lake.silver[lake.silver.duplicated([dataset.key, dataset.event_time])]
        report.duplicated += report.note("silver has a version more than once", twice)


def _check_silver_values(report: Report, lake: Lake, dataset: Dataset) -> None:
    """Each silver row is what the judge makes of the record's bytes; each duplicate has its like."""
    judge = EventJudge(dataset.events)
    names = dataset.events.column_names
    values = dict(zip(_indexed(lake.bronze).index, lake.bronze["value"], strict=True))
    present: dict[tuple[object, object], tuple[object, ...]] = {}
    wrong = []
    for row in lake.silver.to_dict("records"):
        where = tuple(row[name] for name in COORDINATES)
        content = tuple(_comparable(row[name]) for name in names)
        present[_comparable(row[dataset.key]), _comparable(row[dataset.event_time])] = content
        judged = judge.judge(values.get(where))
        expected = tuple(judged.fields.get(name) for name in names)
        if judged.reasons or content != expected or tuple(row["defaulted_fields"]) != judged.defaulted:
            wrong.append(where)
    report.note("silver has another value than the record", pd.DataFrame(wrong, columns=COORDINATES))
    # A version that today's contract can no longer make is in quarantine; its repeats stay what they were.
    for row in lake.quarantine[_is_changed(lake)].to_dict("records"):
        fields = judge.judge(row["value"]).fields
        content = tuple(fields.get(name) for name in names)
        present.setdefault((fields.get(dataset.key), fields.get(dataset.event_time)), content)
    unlike = []
    for row in lake.bronze[lake.bronze["verdict"] == "duplicate"].to_dict("records"):
        fields = judge.judge(row["value"]).fields
        like = present.get((fields.get(dataset.key), fields.get(dataset.event_time)))
        if like != tuple(fields.get(name) for name in names):
            unlike.append(tuple(row[name] for name in COORDINATES))
    report.lost += report.note("duplicates of nothing", pd.DataFrame(unlike, columns=COORDINATES))


def _comparable(value: Any) -> object:
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def _ledger_problems(log: pd.DataFrame, lake: Lake, verdicts: pd.DataFrame | None) -> Iterator[str]:
    """What does not close: batches, counts, offsets."""
    ledger = lake.ledger
    batch = ["query_id", "batch_id"]
    for row in ledger[ledger.duplicated(batch)].to_dict("records"):
        yield f"the ledger has batch {row['batch_id']} of {row['query_id']} more than once"
    for row in ledger.to_dict("records"):
        if row["read"] != sum(int(row[verdict]) for verdict in VERDICTS):
            yield f"batch {row['batch_id']}: read {row['read']} is not the sum of its verdicts"
    if verdicts is not None:
        yield from _batch_problems(verdicts, lake)
    yield from _offset_problems(log, ledger)


def _batch_problems(verdicts: pd.DataFrame, lake: Lake) -> Iterator[str]:
    batches = verdicts.groupby(["_query_id", "_batch_id"])
    bronze = batches["verdict"].value_counts().unstack(fill_value=0)
    counted = lake.ledger.drop_duplicates(["query_id", "batch_id"]).set_index(["query_id", "batch_id"])
    for batch in bronze.index.difference(counted.index):
        yield f"bronze has batch {batch}, the ledger does not"
    for batch in counted.index.intersection(bronze.index):
        for verdict in VERDICTS:
            present = int(bronze.loc[batch].get(verdict, 0))
            if present != int(counted.loc[batch, verdict]):
                wanted = int(counted.loc[batch, verdict])
                yield f"batch {batch}: {present} {verdict} in bronze, {wanted} in the ledger"


def _offset_problems(log: pd.DataFrame, ledger: pd.DataFrame) -> Iterator[str]:
    """Offset ranges of all batches follow each other without hole or overlap up to the topics' ends."""
    ranges: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
    for source in itertools.chain.from_iterable(ledger["sources"] if len(ledger) else ()):
        start, until = source["from_offset"], source["until_offset"]
        if until - start != sum(source[name] for name in ("read", "gaps", "lost", "compacted")):
            yield f"{source['topic']}-{source['partition']}: offsets {start} to {until} are not accounted for"
        if until > start:
            where = (source["topic"], source["partition"], source.get("incarnation") or 0)
            ranges.setdefault(where, []).append((start, until))
    for where, found in ranges.items():
        found.sort()
        for (_, until), (start, _) in itertools.pairwise(found):
            if until != start:
                yield f"{where[0]}-{where[1]}: one batch ends at offset {until}, the next starts at {start}"
    for (topic, partition, number), records in log.groupby(["topic", "partition", "incarnation"]):
        found = ranges.get((str(topic), int(str(partition)), int(str(number))), [(0, 0)])
        first, last = int(records["offset"].min()), int(records["offset"].max())
        if found[0][0] > first or found[-1][1] <= last:
            yield f"{topic}-{partition}: records {first}..{last}, ledger {found[0][0]}..{found[-1][1] - 1}"
