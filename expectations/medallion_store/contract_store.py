"""The contracts that the platform runs on, kept whole by their hash: in Postgres, and beside the ledger.

| where | written | says |
|---|---|---|
| `audit.contracts` | when gold was brought forward | what gold's tables are |
| `<lake>/ledger/<dataset>_contracts/<id>.json` | when the stream starts | what silver's rows were judged by |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from medallion_contracts.loader import load_files
from medallion_contracts.model import Dataset
from medallion_store.control_files import ControlFiles
from medallion_store.fingerprint import fingerprint
from medallion_store.lake_paths import LakePaths
from medallion_store.postgres import has_relation

if TYPE_CHECKING:
    import psycopg

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class StoredContract:
    """One version of a dataset's contracts; `in_force_since` is None of a folder."""

    dataset: str
    files: Files
    in_force_since: datetime | None = None

    @property
    def contract_id(self) -> str:
        """Sixteen hexadecimal digits that change with any byte of the files."""
        return fingerprint(sorted(self.files.items()), 16)

    def load(self) -> Dataset:
        """What the files say.

        Raises:
            ContractError: today's code cannot read them.
        """
        return load_files(self.files, self.dataset)


def contract_in_force(connection: psycopg.Connection, dataset: str) -> StoredContract | None:
    """The contracts that gold was brought forward by last; None when it never was, or by older code."""
    if not has_relation(connection, "audit.contracts"):
        return None
    row = connection.execute(
        "SELECT files, in_force_since FROM audit.contracts WHERE dataset = %s "
        "ORDER BY in_force_since DESC LIMIT 1",
        [dataset],
    ).fetchone()
    if row is None:
        return None
    files = {name: text.encode() for name, text in row[0].items()}
    return StoredContract(dataset, files, row[1])


def put_in_force(connection: psycopg.Connection, contract: StoredContract) -> bool:
    """Keep the contracts as those of gold now; False when they were that already."""
    from psycopg.types.json import Jsonb

    before = contract_in_force(connection, contract.dataset)
    if before is not None and before.contract_id == contract.contract_id:
        return False
    connection.execute(
        "INSERT INTO audit.contracts (dataset, contract_id, files) VALUES (%s, %s, %s) "
        "ON CONFLICT (dataset, contract_id) DO UPDATE SET in_force_since = clock_timestamp()",
        [
            contract.dataset,
            contract.contract_id,
            Jsonb({name: content.decode() for name, content in contract.files.items()}),
        ],
    )
    return True


def accepted_changes(connection: psycopg.Connection, contract: StoredContract) -> set[str]:
    """Names of the changes that a person accepted with these contracts."""
    if not has_relation(connection, "audit.accepted_changes"):
        return set()
    rows = connection.execute(
        "SELECT change FROM audit.accepted_changes WHERE dataset = %s AND contract_id = %s",
        [contract.dataset, contract.contract_id],
    )
    return {str(change) for (change,) in rows}


def accept_changes(
    connection: psycopg.Connection, contract: StoredContract, names: Collection[str], accepted_by: str
) -> None:
    """Note that a person accepts changes, by name; again changes nothing.

    Args:
        connection: to gold.
        contract: that brings them.
        names: of the changes.
        accepted_by: who.
    """
    for name in names:
        connection.execute(
            "INSERT INTO audit.accepted_changes (dataset, contract_id, change, accepted_by) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [contract.dataset, contract.contract_id, name, accepted_by],
        )


def keep_in_lake(files: ControlFiles, paths: LakePaths, contract: StoredContract) -> None:
    """Keep the contracts beside the ledger; once for each version of them, safe to repeat."""
    files.create(
        paths.contract(contract.contract_id),
        {name: content.decode() for name, content in contract.files.items()},
    )
