"""Looks up in bronze the last records that were read of partitions, for ledgers that do not know them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_

import pyarrow.compute as pc

from medallion_contracts.model import INCARNATION
from medallion_spark.lake.tables import LakeTable
from medallion_spark.stream.last_records import LastRecord, Partition, last_records
from medallion_spark.stream.ledger import PartitionOffsets

_COLUMNS = ("topic", "partition", "offset", "timestamp", "key", "value")


def stored_last_records(
    bronze: LakeTable, sources: Mapping[Partition, PartitionOffsets]
) -> dict[Partition, LastRecord]:
    """The records right before the partitions' `until_offset`, as bronze has them.

    Args:
        bronze: prepared.
        sources: of the ledger; a partition whose record bronze lacks is left out.
    """
    wanted = [
        (pc.field("topic") == source.topic)
        & (pc.field("partition") == source.partition)
        & (pc.field("offset") == source.until_offset - 1)
        & (pc.coalesce(pc.field(INCARNATION), pc.scalar(0)) == source.incarnation)
        for source in sources.values()
    ]
    if not wanted:
        return {}
    # Each file tells its smallest and largest offset: few are read.
    rows = bronze.log().to_pyarrow_dataset().to_table(columns=list(_COLUMNS), filter=reduce(or_, wanted))
    return last_records(rows)
