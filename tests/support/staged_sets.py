"""Hand-made sets of staging tables: small and right, or with a planted fault.

The gold job makes real ones in Spark; here the contract's own definitions (transformLogic) are evaluated by
Postgres, so that tests of the gate and of the publication need no JVM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from further_fields import further_values
from medallion_contracts.compile.postgres import (
    COORDINATES,
    STAGING,
    TOUCHED,
    VERSIONS,
    columns,
    create_staging,
    fingerprint_query,
    quoted,
    scopes,
    staged_columns,
    staging_name,
)
from medallion_contracts.loader import load_dataset
from medallion_store.refresh_plan import gold_contract_hash
from medallion_store.secret import Secret

DATASET = load_dataset("customers")
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

Version = Mapping[str, Any]


def version(customer_id: str, hours: float = 0.0, **fields: Any) -> dict[str, Any]:
    """One version of a customer, `hours` after noon, right in every field that is not given."""
    known = {
        "customer_id": customer_id,
        "gender": "Female",
        "senior_citizen": False,
        "partner": True,
        "dependents": False,
        "tenure": 10,
        "phone_service": True,
        "internet_service": "DSL",
        "contract": "One year",
        "monthly_charges": "50.00",
        "total_charges": "500.00",
        "updated_at": NOON + timedelta(hours=hours),
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@example.org",
        "defaulted_fields": [],
        **fields,
    }
    return known | further_values(known)


@dataclass
class GoldDatabase:
    """A migrated gold database to stage sets in, with the login the platform uses."""

    dsn: str
    versions: int = field(default=0)

    @property
    def secret(self) -> Secret:
        """The DSN as the platform takes it."""
        return Secret(self.dsn)

    def query(self, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query, or nothing for a statement without; committed."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement.encode(), list(values) or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, values: Iterable[Any] = ()) -> Any:
        """The single value a query gives."""
        [[value]] = self.query(statement, values)
        return value

    def gold(self, table: str) -> list[tuple[Any, ...]]:
        """All rows of a gold table by key."""
        key = columns(DATASET.gold[table].primary_key)
        return self.query(
            f"SELECT {columns(DATASET.gold[table].column_names)} FROM gold.{quoted(table)} ORDER BY {key}"
        )

    def stage(
        self, versions: Iterable[Version] | str, *, kind: str = "increment", run_id: str = "run"
    ) -> int:
        """Stage a set from all versions of the customers it touches; returns its id.

        As in the job, what is rejected now is noted as left out; `versions` is to lack it.

        `versions` may be a query that gives a version's fields and coordinates in the contract's order.
        """
        with psycopg.connect(self.dsn) as connection:
            connection.execute("SET LOCAL TIME ZONE 'UTC'")
            last = connection.execute(
                "SELECT publication_id, to_version FROM gold.publications ORDER BY 1 DESC LIMIT 1"
            ).fetchone()
            base, reached = last or (None, None)
            self.versions += 1
            connection.execute(
                "WITH listed AS (SELECT coalesce(jsonb_agg(rejection_id ORDER BY rejection_id), '[]') AS ids "
                "FROM audit.rejected_rows WHERE released_at IS NULL) "
                "INSERT INTO staging.exclusions SELECT md5(ids::text), ids FROM listed ON CONFLICT DO NOTHING"
            )
            [set_id] = connection.execute(
                "INSERT INTO staging.manifests (dataset, run_id, kind, silver_table_id, from_version, "
                "to_version, base_publication_id, tables, contract_hash, exclusion_id) "
                "SELECT %s, %s, %s, 'silver-1', %s, %s, %s, '{}', %s, "
                "md5(coalesce(jsonb_agg(rejection_id ORDER BY rejection_id), '[]')::text) "
                "FROM audit.rejected_rows WHERE released_at IS NULL "
                "RETURNING set_id",
                [DATASET.name, run_id, kind, reached, (reached or 0) + 1, base, gold_contract_hash(DATASET)],
            ).fetchone() or (0,)
            _load_versions(connection, versions)
            _fill(connection, set_id)
            self._describe(connection, set_id)
        return int(set_id)

    def tamper(self, set_id: int, table: str, change: str) -> None:
        """Change staged rows as a faulty job would have written them: `change` is SET ..., or DELETE."""
        relation = f"{STAGING}.{quoted(staging_name(set_id, table))}"
        verb = "DELETE FROM" if change.startswith("WHERE") else "UPDATE"
        with psycopg.connect(self.dsn) as connection:
            connection.execute(f"{verb} {relation} {change}".encode())
            self._describe(connection, set_id)

    def _describe(self, connection: psycopg.Connection, set_id: int) -> None:
        tables = {}
        for name in DATASET.gold:
            row = connection.execute(fingerprint_query(staging_name(set_id, name)).encode()).fetchone()
            assert row is not None
            tables[name] = {"rows": row[0], "checksum": row[1]}
        connection.execute(
            "UPDATE staging.manifests SET tables = %s WHERE set_id = %s", [Jsonb(tables), set_id]
        )


def _load_versions(connection: psycopg.Connection, versions: Iterable[Version] | str) -> None:
    fields = [*DATASET.events.columns, DATASET.silver.column("defaulted_fields")]
    fields += [DATASET.silver.column(name) for name in COORDINATES]
    statement = create_staging("versions", fields).replace(
        f"UNLOGGED TABLE {quoted(STAGING, 'versions')}", "TEMPORARY TABLE versions"
    )
    connection.execute(f"{statement} ON COMMIT DROP".encode())
    names = [column.name for column in fields]
    if isinstance(versions, str):
        connection.execute(f"INSERT INTO versions ({columns(names)}) {versions}".encode())
        return
    with connection.cursor().copy(f"COPY versions ({columns(names)}) FROM STDIN".encode()) as copy:
        for offset, one in enumerate(versions):
            where = {
                "_topic": DATASET.topic,
                "_partition": offset % 4,
                "_offset": 1_000 + offset,
                "_incarnation": 0,
            }
            copy.write_row([{**where, **one}[name] for name in names])


def _fill(connection: psycopg.Connection, set_id: int) -> None:
    sources = {
        "customer_history": _HISTORY,
        "customers": _CUSTOMERS,
        "customer_features": _features(),
        "segment_hourly": _segments(),
    }
    for name, table in DATASET.gold.items():
        wanted = staged_columns(DATASET, table)
        connection.execute(create_staging(staging_name(set_id, name), wanted).encode())
        listed = columns(column.name for column in wanted)
        target = f"{STAGING}.{staging_name(set_id, name)}"
        connection.execute(
            f"INSERT INTO {target} ({listed}) SELECT {listed} FROM ({sources[name]}) AS t".encode()
        )
    lists = {
        TOUCHED: "SELECT DISTINCT customer_id FROM versions",
        # Of a customer's versions all are decided about: those in gold and those staged.
        VERSIONS: "SELECT customer_id, updated_at AS valid_from FROM versions UNION "
        "SELECT customer_id, valid_from FROM gold.customer_history JOIN versions USING (customer_id)",
        "_hours": "SELECT DISTINCT date_trunc('hour', updated_at) AS hour FROM versions",
    }
    for scope in scopes(DATASET):
        target = f"{STAGING}.{staging_name(set_id, scope.name)}"
        connection.execute(f"CREATE UNLOGGED TABLE {target} AS {lists[scope.name]}".encode())
        # As the job does: without the key, looking a version up reads the whole list each time.
        connection.execute(f"ALTER TABLE {target} ADD PRIMARY KEY ({columns(scope.column_names)})".encode())
        connection.execute(f"ANALYZE {target}".encode())


_HISTORY = """
    SELECT v.*, updated_at AS valid_from, lead(updated_at) OVER w AS valid_to,
        lead(updated_at) OVER w IS NULL AS is_current, lag(updated_at) OVER w IS NULL AS is_first,
        min(updated_at) OVER (PARTITION BY customer_id) AS first_seen_at,
        lag(monthly_charges) OVER w AS previous_monthly_charges,
        count(*) OVER (PARTITION BY customer_id) AS updates_count
    FROM versions AS v WINDOW w AS (PARTITION BY customer_id ORDER BY updated_at)"""
_CUSTOMERS = f"SELECT * FROM ({_HISTORY}) AS h WHERE is_current"


def _features() -> str:
    table = DATASET.gold["customer_features"]
    definitions = ["0 AS plan_changes", "NULL::boolean AS churned"]
    definitions += [f"{column.transform} AS {column.name}" for column in table.columns if column.transform]
    inherited = [name for name in table.column_names if name in DATASET.events.column_names]
    return (
        f"SELECT {columns(inherited)}, {columns(COORDINATES)}, updates_count, {', '.join(definitions)} "
        f"FROM ({_CUSTOMERS}) AS c"
    )


def _segments() -> str:
    table = DATASET.gold["segment_hourly"]
    groups = ["hour", "contract", "internet_service"]
    rounded = table.column("monthly_charges_avg")
    aggregates = [
        f"{column.transform} AS {column.name}"
        for column in table.columns
        if column.transform and column.name not in ("hour", rounded.name)
    ]
    return (
        f"SELECT *, {rounded.transform} AS {rounded.name} "
        f"FROM (SELECT {columns(groups)}, {', '.join(aggregates)} "
        f"FROM (SELECT *, {table.column('hour').transform} AS hour FROM ({_HISTORY}) AS h) AS hours "
        f"GROUP BY {columns(groups)}) AS segments"
    )
