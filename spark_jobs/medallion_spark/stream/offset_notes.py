"""What became of a batch's offsets, noted with bronze's commit: known also when the driver dies behind it.

The ledger's row comes last. A driver that makes it from bronze cannot ask the broker any more what was a gap:
by then retention may have removed the records around it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime

from medallion_spark.stream.ledger import PartitionOffsets, Sources
from medallion_spark.stream.offset_account import untouched

SOURCES_NOTE = "medallion.sources"


def note_of(sources: Sources) -> str:
    """The partitions of which the batch accounts for offsets, as text."""
    touched = [source for source in sources.values() if source.until_offset > source.from_offset]
    return json.dumps([asdict(source) for source in touched], default=datetime.isoformat)


def accounted_before(note: str, carried: Sources) -> dict[tuple[str, int], PartitionOffsets]:
    """What a note says; nothing when it does not follow on what the ledger has.

    Args:
        note: of `note_of`.
        carried: of the ledger's newest row.
    """
    found: dict[tuple[str, int], PartitionOffsets] = {}
    for content in json.loads(note):
        mark = content.pop("watermark")
        source = PartitionOffsets(**content, watermark=datetime.fromisoformat(mark) if mark else None)
        before = carried.get((source.topic, source.partition))
        if before is not None and before.until_offset != source.from_offset:
            return {}
        found[source.topic, source.partition] = source
    if not found:
        return {}
    return {**{where: untouched(source) for where, source in carried.items()}, **found}
