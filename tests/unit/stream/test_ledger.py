"""The ledger over releases: rows of before a column was added."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from medallion_spark.stream.ledger import LEDGER_SCHEMA, Ledger, LedgerRow, PartitionOffsets

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def row(sequence: int, source: PartitionOffsets) -> LedgerRow:
    """A row of one partition."""
    return LedgerRow(
        sequence=sequence,
        query_id="q",
        batch_id=sequence,
        contract_hash="0",
        started_at=NOON,
        committed_at=NOON,
        duration_seconds=1.0,
        is_derived=False,
        sources=(source,),
        read=source.read,
        silver=source.read,
        duplicate=0,
        late=0,
        rejected=0,
        gaps=source.gaps,
        lost=source.lost,
        rejected_by_reason={},
        unknown_fields={},
        with_unknown_fields=0,
        key_mismatch=0,
        commits=(),
        event_to_silver_p50=None,
        event_to_silver_p95=None,
        event_to_silver_max=None,
        compacted=source.compacted,
    )


def without_compacted(schema: pa.Schema) -> pa.Schema:
    """The ledger's columns as they were before offsets were counted as compacted."""
    source = schema.field("sources").type.value_type
    fields = [source.field(number) for number in range(source.num_fields)]
    older = pa.list_(pa.struct([one for one in fields if one.name != "compacted"]))
    kept = [one for one in schema if one.name not in ("compacted", "sources")]
    return pa.schema([*kept, pa.field("sources", older)])


def test_a_ledger_of_before_compacted_offsets_were_counted_goes_on(tmp_path: Path) -> None:
    schema = without_compacted(LEDGER_SCHEMA)
    old: dict[str, Any] = asdict(row(1, PartitionOffsets("customers", 0, 0, 5, 5, watermark=NOON)))
    old["rejected_by_reason"] = old["unknown_fields"] = []
    path = str(tmp_path / "ledger")
    write_deltalake(path, pa.Table.from_pylist([old], schema=schema))
    ledger = Ledger(path, {})
    ledger.prepare()
    assert ledger.carried().sources["customers", 0] == PartitionOffsets(
        "customers", 0, 0, 5, 5, watermark=NOON, compacted=0
    )
    ledger.append(row(2, PartitionOffsets("customers", 0, 5, 9, 1, compacted=3)))
    assert ledger.carried().sources["customers", 0].compacted == 3
    rows = DeltaTable(path).to_pyarrow_table(columns=["sequence", "compacted"]).to_pylist()
    assert {one["sequence"]: one["compacted"] or 0 for one in rows} == {1: 0, 2: 3}
