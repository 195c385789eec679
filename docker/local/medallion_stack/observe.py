"""What the lake and gold hold, read as any client would: deltalake for the lake, SQL for gold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medallion_contracts.loader import load_dataset
from medallion_ops.producer.mappings import mapping_of
from medallion_ops.producer.parameters import Parameters, Source
from medallion_store.lake_paths import LakePaths

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

LAYERS = ("bronze", "silver", "quarantine", "ledger")


@dataclass(frozen=True)
class Verdicts:
    """Verdicts of the records in bronze: how many of each, and the rejected ones by reason."""

    by_verdict: Counter[str]
    by_reason: Counter[str]

    @property
    def records(self) -> int:
        """All records."""
        return self.by_verdict.total()

    def since(self, earlier: Verdicts) -> Verdicts:
        """What has come since then."""
        return Verdicts(self.by_verdict - earlier.by_verdict, self.by_reason - earlier.by_reason)


@dataclass(frozen=True)
class Balance:
    """The ledger: micro-batches, records they read, and those whose counts do not add up."""

    batches: int
    read: int
    open_batches: tuple[int, ...]


class LakeView:
    """A dataset's tables in the lake; a table that is not there yet counts as empty."""

    def __init__(self, uri: str, dataset: str) -> None:
        self._paths = LakePaths(uri, dataset)

    def rows(self) -> dict[str, int]:
        """Rows of each layer."""
        return {layer: self._rows(getattr(self._paths, layer)) for layer in LAYERS}

    def records(self) -> int:
        """Rows of bronze, from the log of the table alone."""
        return self._rows(self._paths.bronze)

    def verdicts(self) -> Verdicts:
        """Verdicts of all records."""
        table = self._read(self._paths.bronze, ["verdict", "reasons"])
        if table is None:
            return Verdicts(Counter(), Counter())
        verdicts = table.column("verdict").to_pylist()
        reasons: Counter[str] = Counter()
        for verdict, why in zip(verdicts, table.column("reasons").to_pylist(), strict=True):
            if verdict == "rejected":
                reasons.update(why or ())
        return Verdicts(Counter(verdicts), reasons)

    def balance(self) -> Balance:
        """Whether the counts of every micro-batch add up."""
        parts = ("silver", "duplicate", "late", "rejected")
        table = self._read(self._paths.ledger, ["batch_id", "read", *parts])
        batches = table.to_pylist() if table is not None else []
        unequal = [one["batch_id"] for one in batches if one["read"] != sum(one[part] for part in parts)]
        return Balance(len(batches), sum(one["read"] for one in batches), tuple(unequal))

    def silver_version(self) -> int:
        """The newest version of silver that a micro-batch wrote; -1 before the first."""
        table = self._read(self._paths.ledger, ["commits"])
        commits = table.column("commits").to_pylist() if table is not None else []
        return max(
            (one["version"] for each in commits for one in each if one["table"] == "silver"), default=-1
        )

    def _rows(self, path: str) -> int:
        table = self._table(path)
        return (
            0 if table is None else sum(table.get_add_actions(flatten=True).column("num_records").to_pylist())
        )

    def _read(self, path: str, columns: list[str]) -> pa.Table | None:
        table = self._table(path)
        return None if table is None else table.to_pyarrow_table(columns=columns)

    @staticmethod
    def _table(path: str) -> Any:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        with suppress(TableNotFoundError):
            return DeltaTable(path)
        return None


class GoldView:
    """Gold of a dataset and its audit trail."""

    def __init__(self, settings: Mapping[str, str], dataset: str) -> None:
        self._dataset = load_dataset(dataset)
        self._writer = settings["MEDALLION_GOLD_DSN"]
        self._reader = settings["MEDALLION_READER_DSN"]

    def rows(self) -> dict[str, int]:
        """Rows of each table; none before the first migration."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self._writer) as connection:
            there = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'gold' ORDER BY 1"
            ).fetchall()
            return {
                name: _one(connection, sql.SQL("SELECT count(*) FROM gold.{}").format(sql.Identifier(name)))
                for (name,) in there
                if name in {*self._dataset.gold, "publications"}
            }

    def entities_present(self, keys: set[str]) -> int:
        """How many of these entities have a row in the table of the newest versions."""
        import psycopg
        from psycopg import sql

        query = sql.SQL("SELECT count(*) FROM gold.{} WHERE {} = ANY(%s)").format(
            sql.Identifier(self._dataset.name), sql.Identifier(self._dataset.key)
        )
        with psycopg.connect(self._writer) as connection:
            return _one(connection, query, [sorted(keys)])

    def published_version(self) -> int | None:
        """The silver version that gold is published up to; None before the first publication."""
        query = (
            "SELECT to_version FROM gold.publications WHERE dataset = %s ORDER BY publication_id DESC LIMIT 1"
        )
        found = self._dicts(self._writer, query, [self._dataset.name])
        return found[0]["to_version"] if found else None

    def gate(self) -> list[dict[str, Any]]:
        """The gate's verdict on each expectation for the newest set of candidates that it has judged."""
        query = (
            "SELECT * FROM audit.gate_results WHERE set_id = (SELECT max(g.set_id) "
            "FROM audit.gate_results AS g JOIN staging.manifests AS m USING (set_id) "
            "WHERE m.dataset = %s) ORDER BY table_name, expectation"
        )
        return self._dicts(self._writer, query, [self._dataset.name])

    def sample(self, view: str, order: str, limit: int) -> list[dict[str, Any]]:
        """Rows of a view as a reader without access to personal data sees them."""
        from psycopg import sql

        query = sql.SQL("SELECT * FROM gold.{} ORDER BY {} LIMIT {}").format(
            sql.Identifier(view), sql.SQL(order), sql.Literal(limit)
        )
        return self._dicts(self._reader, query)

    @staticmethod
    def _dicts(dsn: str, query: Any, values: list[object] | None = None) -> list[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(dsn, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()


def keys_of_table(dataset: str, telco: Path) -> set[str]:
    """The keys of the events that the Telco table becomes."""
    mapping = mapping_of(dataset)
    if mapping is None:
        return set()
    return {event.key for event in mapping.telco_table(Parameters(Source.TELCO, telco, dataset=dataset))}


def _one(connection: psycopg.Connection[Any], query: Any, values: list[object] | None = None) -> int:
    row = connection.execute(query, values).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    return int(row[0])
