"""What bronze's commit notes of offsets, and when it is believed."""

from __future__ import annotations

from datetime import UTC, datetime

from medallion_spark.stream.ledger import PartitionOffsets
from medallion_spark.stream.offset_notes import accounted_before, note_of

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FIRST = PartitionOffsets("customers", 0, 10, 20, 4, gaps=3, lost=2, watermark=NOON, compacted=1)
IDLE = PartitionOffsets("customers", 1, 7, 7, watermark=NOON)
CARRIED = {("customers", 0): PartitionOffsets("customers", 0, 0, 10, 10), ("customers", 1): IDLE}


def test_a_note_gives_back_what_was_accounted_for() -> None:
    sources = {("customers", 0): FIRST, ("customers", 1): IDLE}
    assert accounted_before(note_of(sources), CARRIED) == sources


def test_a_note_that_does_not_follow_on_the_ledger_says_nothing() -> None:
    note = note_of({("customers", 0): FIRST})
    assert accounted_before(note, {("customers", 0): PartitionOffsets("customers", 0, 0, 9, 9)}) == {}
    assert accounted_before(note_of({}), CARRIED) == {}
