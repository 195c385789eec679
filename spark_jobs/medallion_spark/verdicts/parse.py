"""From Kafka records to parsed records: the contract's reasons and lateness, one pass, no shuffle.

One Arrow function on the executors does it all: `PlainParser` takes the ordinary records, `EventJudge` what
it leaves, and lateness follows every record's event time in the order of offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.functions import arrow_udf

from medallion_contracts import reasons
from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.compile.plain_parser import PlainParser
from medallion_contracts.compile.spark import spark_schema
from medallion_contracts.errors import StreamError
from medallion_contracts.judge import EventJudge
from medallion_contracts.model import Dataset
from medallion_contracts.reasons import FUTURE_TOLERANCE

LOG_APPEND_TIME = 1
"""The timestampType of records that the broker's clock stamped; any other time is the producer's word."""

Watermarks = Mapping[tuple[str, int], datetime]
"""Largest valid event time so far, by (topic, partition); UTC."""

_STRINGS = pa.list_(pa.string())
_NEVER = np.iinfo(np.int64).min
_Micros = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lateness:
    """How late is too late.

    `watermarks` are those at the offset where the batch begins. Only records of `topic` are tested.
    """

    topic: str
    allowed: timedelta
    watermarks: Watermarks


def parse_records(
    records: DataFrame,
    dataset: Dataset,
    *,
    clock: datetime,
    lateness: Lateness | None,
    reject_unknown: bool = False,
) -> DataFrame:
    """Parse Kafka records by the contract.

    Args:
        records: columns of `source.RECORD_COLUMNS`. With `lateness`, each (topic, partition) must come whole
            and in the order of offsets within one task, as Spark's Kafka source gives it.
        dataset: its contracts.
        clock: of the micro-batch, UTC.
        lateness: None tests nothing (history, replay, records judged before).
        reject_unknown: whether unknown fields are a reason.

    Returns:
        `records` plus `fields` (struct of the event's columns: complete when there are no reasons, otherwise
        only the valid ones), `defaulted`, `unknown`, `reasons` (arrays of strings), `event_time` (valid and
        not in the future, whatever else is wrong with the record, else null) and `is_late`.

    Raises:
        StreamError: on an executor, when the records do not come in the order lateness needs.
    """
    judged = _judge_function(dataset, clock, lateness, reject_unknown)(
        "topic", "partition", "offset", "timestamp", "timestampType", "value"
    )
    parts = ("fields", "defaulted", "unknown", "reasons", "event_time", "is_late")
    return records.withColumn("_judged", judged).select(
        *records.columns, *(F.col(f"_judged.{name}") for name in parts)
    )


def _judge_function(
    dataset: Dataset, clock: datetime, lateness: Lateness | None, reject_unknown: bool
) -> Any:
    """The Arrow function of `parse_records`: one call a task, so that it can carry the watermark along."""
    strings = T.ArrayType(T.StringType())
    result_type = T.StructType(
        [
            T.StructField("fields", spark_schema(dataset.events)),
            T.StructField("defaulted", strings),
            T.StructField("unknown", strings),
            T.StructField("reasons", strings),
            T.StructField("event_time", T.TimestampType()),
            T.StructField("is_late", T.BooleanType()),
        ]
    )

    def judge(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        judging = _Judging(dataset, clock, reject_unknown)
        late = _LateTest(lateness) if lateness is not None else None
        for topic, partition, offset, timestamp, timestamp_type, value in batches:
            result = judging.judge(timestamp, timestamp_type, value)
            is_late = (
                late.test(topic, partition, offset, result["event_time"])
                if late is not None
                else np.zeros(len(topic), dtype=bool)
            )
            result["is_late"] = pa.array(is_late)
            yield pa.StructArray.from_arrays(list(result.values()), names=list(result))

    return arrow_udf(judge, returnType=result_type)  # type: ignore[call-overload]  # no StructType there


class _Judging:
    """Contract reasons of one Arrow batch after another."""

    def __init__(self, dataset: Dataset, clock: datetime, reject_unknown: bool) -> None:
        self._plain = PlainParser(dataset.events)
        self._judge = EventJudge(dataset.events, reject_unknown=reject_unknown)
        self._fields_type = pa.struct(list(arrow_schema(dataset.events)))
        self._event_time = dataset.event_time
        self._clock = _micros(clock)
        self._tolerance = round(FUTURE_TOLERANCE.total_seconds() * 1_000_000)

    def judge(self, timestamp: pa.Array, timestamp_type: pa.Array, value: pa.Array) -> dict[str, pa.Array]:
        rows = len(value)
        plain, plain_fields, plain_defaulted = self._plain.parse(value)
        unusual = np.setdiff1d(np.arange(rows), plain, assume_unique=True)
        judgements = [self._judge.judge(value[int(row)].as_py()) for row in unusual]
        fields, defaulted = plain_fields, plain_defaulted
        if judgements:
            order = np.empty(rows, dtype=np.intp)
            order[np.concatenate((plain, unusual))] = np.arange(rows)
            judged = pa.array([dict(judgement.fields) for judgement in judgements], self._fields_type)
            fields = pa.concat_arrays([plain_fields, judged]).take(pa.array(order))
            names = pa.array([judgement.defaulted for judgement in judgements], _STRINGS)
            defaulted = pa.concat_arrays([plain_defaulted, names]).take(pa.array(order))

        times = _to_micros(fields.field(self._event_time))
        is_future = times > self._now(timestamp, timestamp_type) + self._tolerance
        is_valid = (times != _NEVER) & ~is_future
        faults: list[tuple[str, ...]] = list(repeat((), rows))
        for row, judgement in zip(unusual, judgements, strict=True):
            faults[row] = judgement.reasons
        for row in np.flatnonzero(is_future):
            faults[row] = (*faults[row], reasons.FUTURE)
        return {
            "fields": fields,
            "defaulted": defaulted,
            "unknown": _scatter([judgement.unknown for judgement in judgements], unusual, rows),
            "reasons": pa.array(faults, _STRINGS),
            "event_time": pa.array(times, pa.timestamp("us", tz="UTC"), mask=~is_valid),
        }

    def _now(self, timestamp: pa.Array, timestamp_type: pa.Array) -> _Micros:
        """What the future is measured from: the batch's clock, or the broker's where that is earlier."""
        is_brokers = pc.equal(timestamp_type, LOG_APPEND_TIME).to_numpy(zero_copy_only=False)
        return np.where(is_brokers, np.minimum(_to_micros(timestamp), self._clock), self._clock)


class _LateTest:
    """Carries the largest valid event time along the offsets of the one partition that a task reads."""

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness
        self._allowed = round(lateness.allowed.total_seconds() * 1_000_000)
        self._source: tuple[str, int] | None = None
        self._last_offset = -1
        self._largest = _NEVER

    def test(
        self, topic: pa.Array, partition: pa.Array, offset: pa.Array, event_time: pa.Array
    ) -> npt.NDArray[np.bool_]:
        if not len(topic):
            return np.zeros(0, dtype=bool)
        self._check_order(topic, partition, offset)
        times = _to_micros(event_time)
        so_far = np.maximum.accumulate(np.concatenate(([self._largest], times)))
        self._largest = int(so_far[-1])
        if topic[0].as_py() != self._lateness.topic:
            return np.zeros(len(times), dtype=bool)
        before = so_far[:-1]
        is_tested = (times != _NEVER) & (before != _NEVER)
        result: npt.NDArray[np.bool_] = is_tested & (times < np.where(is_tested, before, 0) - self._allowed)
        return result

    def _check_order(self, topic: pa.Array, partition: pa.Array, offset: pa.Array) -> None:
        source = (topic[0].as_py(), partition[0].as_py())
        offsets = offset.to_numpy()
        if self._source is None:
            self._source = source
            carried = self._lateness.watermarks.get(source)
            self._largest = _NEVER if carried is None else _micros(carried)
        is_one_source = (
            source == self._source
            and pc.count_distinct(partition).as_py() == 1
            and pc.count_distinct(topic).as_py() == 1
        )
        if not is_one_source or offsets[0] <= self._last_offset or np.any(np.diff(offsets) <= 0):
            raise StreamError(
                f"records of {source[0]}-{source[1]} are not in the order of offsets, one partition a task: "
                "lateness cannot be judged; remove the source option minPartitions"
            )
        self._last_offset = int(offsets[-1])


def _scatter(values: Sequence[tuple[str, ...]], at: npt.NDArray[np.intp], rows: int) -> pa.Array:
    """Lists of strings for `rows` records: `values` at the positions `at`, empty at the others."""
    whole: list[tuple[str, ...]] = list(repeat((), rows))
    for row, value in zip(at, values, strict=True):
        whole[row] = value
    return pa.array(whole, _STRINGS)


def _to_micros(moments: pa.Array) -> _Micros:
    """Timestamps as microseconds since the epoch, _NEVER for null; always a copy that may be written."""
    micros: _Micros = moments.cast(pa.int64()).fill_null(_NEVER).to_numpy(zero_copy_only=False)
    return micros.copy()


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _micros(utc_time: datetime) -> int:
    return (utc_time - _EPOCH) // timedelta(microseconds=1)


def key_mismatch(dataset: Dataset) -> Column:
    """Whether the Kafka key is null or other than the event's key; null where the event has no valid key."""
    key = F.col(f"fields.{dataset.key}")
    return F.when(key.isNotNull(), ~F.col("key").eqNullSafe(key.cast("string").cast("binary")))
