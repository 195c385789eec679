"""Before the stream starts: whether tables, ledger, checkpoint and broker tell of the same past.

A ledger row names the version that its batch wrote of each table, and the rows of that commit. A table that
is not at that version any more, or has another commit there, lost its newest commits: a copy from a backup,
a failover of the storage, a file of the log that a power cut left empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from medallion_spark.lake.commits import TableCommit
from medallion_spark.lake.tables import LakeTable, StreamTables
from medallion_spark.stream.checkpoint import Checkpoint
from medallion_spark.stream.checkpoint_rules import Hole, compare_checkpoint
from medallion_spark.stream.last_records import LastRecord, Partition
from medallion_spark.stream.ledger import Ledger, StreamPosition
from medallion_spark.stream.ledger_commits import CommittedTable, newest_commits
from medallion_spark.stream.log_reader import LogReader
from medallion_spark.stream.recovery import is_fenced, unfinished_batches

RECOVER = "`python -m medallion_ops.control recover {dataset}`"


def damaged_tables(tables: StreamTables, ledger: Ledger) -> dict[str, str]:
    """What is wrong with tables that lost commits, by their names."""
    kept = newest_commits(ledger)
    found = {}
    for table in (tables.bronze, tables.silver, tables.quarantine):
        if table.name in kept:
            problem = lost_commits(table, kept[table.name])
            if problem is not None:
                found[table.name] = problem
    return found


def lost_commits(table: LakeTable, kept: CommittedTable) -> str | None:
    """How a table shows that it lost the commit that the ledger names, or later ones; None when it did not.

    A rebuild after that commit made the table from bronze: whatever was lost is there again.
    """
    version, batch = table.version(), f"batch {kept.batch_id} of query {kept.query_id}"
    is_there = was_set_back = False
    oldest = version + 1
    for commit in table.newest_commits():
        is_older = commit.version < kept.version and commit.at < kept.committed_at
        if is_older and commit.info:  # a commit file that a power cut left empty says nothing
            break
        if _is_rebuild(commit) and commit.at >= _milliseconds(kept.committed_at):
            return None
        was_set_back |= not is_there and commit.info.get("operation") == "RESTORE"
        is_there |= _is_commit(commit, table.name, kept)
        oldest = commit.version
    if version < kept.version:
        return f"{table.path} is at version {version}, and {batch} wrote version {kept.version}"
    if not is_there and oldest <= kept.version:
        return f"{table.path} does not have the {kept.rows} rows that {batch} wrote as version {kept.version}"
    if was_set_back:
        return f"{table.path} was set back by a RESTORE after {batch}"
    return None


def _is_rebuild(commit: TableCommit) -> bool:
    return commit.label.startswith("rebuild:")


def _milliseconds(moment: datetime) -> datetime:
    """As a table's log tells the time."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _is_commit(commit: TableCommit, name: str, kept: CommittedTable) -> bool:
    label = commit.label.split(":")  # as `LakeTable.append` writes it
    is_batch = label[:2] == [kept.query_id, name] and label[-2:-1] == [str(kept.batch_id)]
    # Also the files themselves: a commit file may be cut short behind what it says of the commit.
    return is_batch and commit.rows == kept.rows == commit.added_rows


def is_rebuilt_after(table: LakeTable, moment: datetime) -> bool:
    """Whether the table was made from bronze after a moment."""
    for commit in table.newest_commits():
        if commit.info and commit.at < _milliseconds(moment):
            return False
        if _is_rebuild(commit):
            return True
    return False


def table_remedy(damaged: Mapping[str, str], dataset: str) -> str:
    """What to tell of damaged tables: what is wrong, and what to do."""
    rebuild = f"run the DAG {dataset}_rebuild with mode as-judged"
    if "bronze" in damaged:
        what = (
            f"bring bronze back from a copy that has it; or let its records be read again: {rebuild}, then "
            f"{RECOVER.format(dataset=dataset)}"
        )
    else:
        what = f"{rebuild}: it makes them again from bronze"
    return (
        f"{'; '.join(damaged.values())}: newest commits are gone. The stream does not go on over that: {what}"
    )


def checkpoint_problem(
    checkpoint: Checkpoint,
    tables: StreamTables,
    ledger: Ledger,
    carried: StreamPosition,
    unproven: Callable[[Iterable[Hole]], list[str]],
) -> str | None:
    """Why the stream cannot go on by this checkpoint; None when it can.

    Args:
        checkpoint: Spark's.
        tables: prepared.
        ledger: prepared.
        carried: of the ledger.
        unproven: asks the broker; gives those holes that may hold records.
    """
    if is_fenced(tables.bronze, checkpoint.query_id):
        return (
            f"query {checkpoint.query_id} of Spark's checkpoint was ended by a recovery, and another one "
            "follows it"
        )
    open_batches = unfinished_batches(tables.bronze, ledger)
    if len(open_batches) > 1:
        return (
            f"bronze has {len(open_batches)} batches that the ledger does not have: it lost its newest rows"
        )
    if open_batches:
        query_id, batch_id = open_batches[0]
        if query_id != checkpoint.query_id:
            return f"bronze has batch {batch_id} of another query, {query_id}, that the ledger does not have"
        if checkpoint.finished is not None and checkpoint.finished >= batch_id:
            return f"the checkpoint says that batch {batch_id} is done, the ledger does not have it"
    until = {where: source.until_offset for where, source in carried.sources.items()}
    found = compare_checkpoint(checkpoint, ledger.last_batch(checkpoint.query_id), until)
    if found.older is not None:
        return f"Spark's checkpoint is older than the ledger: {found.older}"
    ahead = unproven(found.ahead)
    if ahead:
        return f"Spark's checkpoint is ahead of the ledger, which has not taken in {'; '.join(ahead)}"
    return None


def unproven_holes(reader: LogReader, holes: Iterable[Hole], *, may_be_lost: bool) -> list[str]:
    """The holes of which the broker does not prove that no record is there.

    Args:
        reader: of the broker.
        holes: to be proven.
        may_be_lost: whether offsets that the broker does not have any more are no reason to stop: the next
            batch counts them.
    """
    wanted = {hole.where: hole for hole in holes}
    if not wanted:
        return []
    begins, ends = reader.begins(wanted), reader.ends(wanted)
    starts = {
        where: max(hole.start, begins[where])
        for where, hole in wanted.items()
        if begins[where] < hole.until <= ends[where]
    }
    found: Mapping[Partition, LastRecord] = reader.first_records(starts)
    problems = []
    for where, hole in wanted.items():
        if begins[where] > hole.start and not may_be_lost:
            problems.append(f"{hole} (expired since)")
        elif hole.until > ends[where]:
            problems.append(f"{hole} (the broker's log ends at {ends[where]})")
        elif where in found and found[where].offset < hole.until:
            problems.append(f"{hole} (a record is at {found[where].offset})")
    return problems
