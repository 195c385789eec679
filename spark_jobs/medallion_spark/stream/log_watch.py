"""Holds the logs that a run of the stream reads, and looks whether the broker still has the very same.

Looked at when the stream starts, every few seconds while it runs, and right before bronze's commit of a
batch, which decides what becomes of its records. A topic that is made again after that look gave the batch
its records before; one that is made again earlier is seen by the look. What follows bronze's commit is
derived from bronze, whatever the broker has by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from medallion_contracts.errors import MissingTopic
from medallion_spark.stream.last_records import LastRecord, Partition
from medallion_spark.stream.ledger import KnownLog, PartitionOffsets, StreamPosition
from medallion_spark.stream.log_identity import (
    LogChange,
    PartitionSeen,
    changed_ids,
    find_change,
    known_log,
    refuse,
)
from medallion_spark.stream.log_reader import Description, LogReader

StoredRecords = Callable[[Mapping[Partition, PartitionOffsets]], Mapping[Partition, LastRecord]]
"""Looks up in bronze the last records that were read of partitions."""

_log = logging.getLogger(__name__)


class LogWatch:
    """The logs of one run.

    Args:
        reader: of the broker.
        topics: that the stream reads.
        dataset: its name, for what a person is told to do.
    """

    def __init__(self, reader: LogReader, topics: Sequence[str], dataset: str) -> None:
        self._reader = reader
        self._topics = tuple(topics)
        self._dataset = dataset
        self.logs: dict[str, KnownLog] = {}
        self.ends: dict[Partition, int] = {}
        """Where the partitions ended when that was last seen, of these very logs."""

    def find_changes(self, position: StreamPosition, stored: StoredRecords) -> list[LogChange]:
        """At start: how the logs differ from those that the ledger knows; those that do not are held.

        Args:
            position: of the ledger.
            stored: see StoredRecords; asked for what a ledger of an earlier release does not know.

        Raises:
            ServiceUnavailable: the broker does not answer.
            MissingTopic: a topic that was read is not there.
        """
        topics = self._described(position)
        sources = self._with_last_records(position, stored)
        seen = self._seen(topics, sources)
        changes = []
        for topic, description in topics.items():
            known = known_log(position, topic)
            change = find_change(known, description.id, sources, seen)
            if change is not None:
                changes.append(change)
                continue
            if known.topic_id is None and any(where[0] == topic for where in sources):
                _log.info(
                    "the log behind topic %s is the one that was read: its last records are there", topic
                )
            self.logs[topic] = KnownLog(
                topic, known.incarnation, description.id.cluster_id, description.id.topic_id
            )
        self.ends = {where: there.end for where, there in seen.items() if where[0] in self.logs}
        return changes

    def _described(self, position: StreamPosition) -> dict[str, Description]:
        topics = self._reader.describe(self._topics)
        read = {*position.logs, *(topic for topic, _ in position.sources)}
        missing = [topic for topic in self._topics if topic not in topics and topic in read]
        if missing:
            raise MissingTopic(
                f"topic {', '.join(missing)} was read before and is not there any more: make it again; the "
                "next start names its new log, which can then be accepted"
            )
        return topics

    @staticmethod
    def _with_last_records(
        position: StreamPosition, stored: StoredRecords
    ) -> dict[Partition, PartitionOffsets]:
        unknown = {
            where: source
            for where, source in position.sources.items()
            if source.last is None and source.until_offset > 0
        }
        sources = dict(position.sources)
        for where, record in (stored(unknown) if unknown else {}).items():
            sources[where] = replace(
                sources[where],
                last_offset=record.offset,
                last_timestamp_ms=record.timestamp_ms,
                last_hash=record.hash,
            )
        return sources

    def _seen(
        self, topics: Mapping[str, Description], sources: Mapping[Partition, PartitionOffsets]
    ) -> dict[Partition, PartitionSeen]:
        """What the broker has of the topics' partitions, with a record where one was read before."""
        partitions = [where for description in topics.values() for where in description.partitions]
        begins, ends = self._reader.begins(partitions), self._reader.ends(partitions)
        starts = {
            where: min(max(sources[where].last_offset or 0, begins[where]), ends[where])
            for where in partitions
            if where in sources and sources[where].last is not None
        }
        found = self._reader.first_records(starts)
        return {where: PartitionSeen(begins[where], ends[where], found.get(where)) for where in partitions}

    def check(self) -> None:
        """While the stream runs: the topics have the ids that they had.

        Raises:
            OtherLogError: another log is there.
            ServiceUnavailable: the broker does not answer.
            MissingTopic: a topic is not there.
        """
        topics = self._reader.describe(self._topics)
        ends = self._reader.ends([where for one in topics.values() for where in one.partitions])
        self._check_ids()
        self.ends = ends

    def confirm(self, sources: Mapping[Partition, PartitionOffsets]) -> None:
        """Before a batch is decided: its records came from these very logs.

        Args:
            sources: what is accounted for with the batch, each with its last record.

        Raises:
            OtherLogError: another log is there.
            ServiceUnavailable: the broker does not answer.
            MissingTopic: a topic is not there.
        """
        topics = self._check_ids()
        without_id = {name: one for name, one in topics.items() if self.logs[name].topic_id is None}
        if without_id:
            mine = {where: source for where, source in sources.items() if where[0] in without_id}
            seen = self._seen(without_id, mine)
            found = (find_change(self.logs[name], one.id, mine, seen) for name, one in without_id.items())
            refuse([change for change in found if change is not None], self._dataset)

    def _check_ids(self) -> dict[str, Description]:
        """The topics that are read, as they are now."""
        topics = self._reader.describe(self.logs)
        missing = [topic for topic in self.logs if topic not in topics]
        if missing:
            raise MissingTopic(f"topic {', '.join(missing)} is not there any more: this batch is not written")
        found = ((self.logs[name], one.id) for name, one in topics.items())
        problems = [(known, now, changed_ids(known, now)) for known, now in found]
        refuse([LogChange(known, now, why) for known, now, why in problems if why], self._dataset)
        return topics

    def close(self) -> None:
        """Let go of the broker."""
        self._reader.close()
