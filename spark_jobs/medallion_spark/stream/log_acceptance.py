"""Goes on with another log of a topic, when a person has accepted it.

The stream that finds another log names it in `other_log.json` and stops. `accept-log` copies what that file
names into `accept_log.json`; the next start that finds this very log takes it up. Its steps, and what a kill
between them leaves behind:

1. the batch under way is completed from bronze and the old query is fenced (see `recovery`): safe to repeat;
2. the ledger gets a row without records: the new incarnation and where its log begins by now (what expired
   there before was never ours), and what was lost with the old log. Once, by its transaction id. From here on
   the ledger knows the new log, so the next start finds nothing changed;
3. the checkpoint is set aside. A start that finds it still there sees that its query is fenced, and the
   ledger's newest row an acceptance: it does this step again;
4. both files are removed. A request that names a log that the ledger knows is removed at any start.

The new query then begins at the ledger's offsets: at the first record of the new log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from medallion_spark.stream.last_records import Partition
from medallion_spark.stream.ledger import ACCEPTED, LedgerRow, PartitionOffsets, StreamPosition
from medallion_spark.stream.log_identity import LogChange, describe_changes

_log = logging.getLogger(__name__)


def are_accepted(changes: Sequence[LogChange], request: Mapping[str, Any] | None) -> bool:
    """Whether a person has accepted these very logs."""
    names = ("topic", "incarnation", "cluster_id", "topic_id")
    accepted = [tuple(log.get(name) for name in names) for log in (request or {}).get("logs", ())]
    return all(tuple(one[name] for name in names) in accepted for one in describe_changes(changes))


def acceptance_row(
    carried: StreamPosition,
    changes: Sequence[LogChange],
    last_seen: Mapping[Partition, int],
    begins: Mapping[Partition, int],
    contract_hash: str,
) -> LedgerRow:
    """The ledger's row that accepts logs.

    What was lost with a log is the distance from what was read to the last end that was seen of it: at least
    that, for the log may have grown since.

    Args:
        carried: of the ledger.
        changes: the logs, as they are now.
        last_seen: ends of partitions that a stream has seen since the ledger's newest row.
        begins: the first offset that the logs have now, by partition.
        contract_hash: today's.
    """
    now = datetime.now(UTC)
    accepted = {change.known.topic: change.accepted for change in changes}
    never_read = {
        where: PartitionOffsets(*where, 0, 0, incarnation=accepted[where[0]].incarnation - 1)
        for where in last_seen
        if where[0] in accepted
    }
    sources = [
        _closed(source, last_seen) if where[0] in accepted else _kept(source)
        for where, source in sorted({**never_read, **carried.sources}.items())
    ]
    new = [
        PartitionOffsets(*where, begin, begin, incarnation=accepted[where[0]].incarnation)
        for where, begin in sorted(begins.items())
        if where[0] in accepted
    ]
    lost = sum(source.lost for source in sources)
    for source in sources:
        if source.lost:
            _log.error(
                "%s-%d: at least %d records are lost with the log that is gone",
                source.topic,
                source.partition,
                source.lost,
            )
    return LedgerRow(
        sequence=carried.sequence + 1,
        query_id=ACCEPTED + ",".join(f"{log.topic}:{log.incarnation}" for log in accepted.values()),
        batch_id=0,
        contract_hash=contract_hash,
        started_at=now,
        committed_at=now,
        duration_seconds=0.0,
        is_derived=False,
        sources=(*sources, *new),
        read=0,
        silver=0,
        duplicate=0,
        late=0,
        rejected=0,
        gaps=0,
        lost=lost,
        rejected_by_reason={},
        unknown_fields={},
        with_unknown_fields=0,
        key_mismatch=0,
        commits=(),
        event_to_silver_p50=None,
        event_to_silver_p95=None,
        event_to_silver_max=None,
        logs=tuple(log for _, log in sorted({**carried.logs, **accepted}.items())),
        lost_is_at_least=True,
    )


def _closed(source: PartitionOffsets, last_seen: Mapping[Partition, int]) -> PartitionOffsets:
    """A partition of a log that is gone, up to where it was last seen to end."""
    start = source.until_offset
    ends = (start, source.end_offset or 0, last_seen.get((source.topic, source.partition), 0))
    lost = max(ends) - start
    return replace(source, from_offset=start, until_offset=max(ends), read=0, gaps=0, lost=lost, compacted=0)


def _kept(source: PartitionOffsets) -> PartitionOffsets:
    return replace(source, from_offset=source.until_offset, read=0, gaps=0, lost=0, compacted=0)


class DeletedLog:
    """What can be said of a log that is gone (see `TopicLog`), while bronze completes its last batch.

    Its records are in bronze: what lies between them held none for the reader that brought them.
    """

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self._partitions = tuple(partitions)

    def starts(self, topic: str) -> dict[int, int]:
        """None was taken away before it was read."""
        return {number: 0 for name, number in self._partitions if name == topic}

    def is_compacted(self, topic: str) -> bool:
        """Not known any more."""
        return False

    def first_record(self, where: Partition, offsets: range) -> int | None:
        """No one serves a record."""
        return None
