"""Migrations mend what somebody dropped, or a dump did not bring along; what others built on gold stays."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from medallion_contracts.errors import GoldError, MigrationError
from medallion_contracts.model import Column, ColumnType, Dataset, Severity
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold.publication import publish_set
from medallion_ops.migrations.readers import unreadable
from medallion_ops.migrations.runner import migrate
from medallion_store.publications import last_published
from services import PostgresServer
from staged_sets import DATASET, GoldDatabase, version


@pytest.fixture
def gold(postgres: str) -> GoldDatabase:
    database = GoldDatabase(postgres)
    migrate(database.secret, DATASET)
    return database


def publish(gold: GoldDatabase, *customers: str, kind: str = "increment") -> int:
    set_id = gold.stage([version(customer) for customer in customers], kind=kind)
    finding = Finding("customers", "rule", "expect", "A rule.", Severity.CRITICAL, True, True, 1)
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, Verdict(set_id, "hash", (finding,)))
    publish_set(gold.secret, DATASET, set_id)
    return set_id


def not_readable(gold: GoldDatabase) -> list[str]:
    with psycopg.connect(gold.dsn) as connection:
        return unreadable(connection, DATASET)


def refresh_due(gold: GoldDatabase) -> str | None:
    with psycopg.connect(gold.dsn) as connection:
        published = last_published(connection, DATASET.name)
    return published.refresh_due if published else None


def shape(gold: GoldDatabase) -> set[tuple[str, ...]]:
    """Relations and columns of the three schemas, without staged sets."""
    return set(
        gold.query(
            "SELECT n.nspname, c.relname, c.relkind::text, coalesce(a.attname, '') FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a "
            "ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE n.nspname IN ('gold', 'staging', 'audit') AND c.relname !~ '^s[0-9]+_'"
        )
    )


def with_column(dataset: Dataset, table: str, column: Column, *, first: bool = False) -> Dataset:
    columns = dataset.gold[table].columns
    changed = (column, *columns) if first else (*columns, column)
    return replace(dataset, gold={**dataset.gold, table: replace(dataset.gold[table], columns=changed)})


def retyped(dataset: Dataset) -> Dataset:
    """Monthly charges of the customers with more digits."""
    table = dataset.gold["customers"]
    columns = tuple(
        replace(column, precision=14) if column.name == "monthly_charges" else column
        for column in table.columns
    )
    return replace(dataset, gold={**dataset.gold, "customers": replace(table, columns=columns)})


@pytest.mark.parametrize(
    "damage",
    [
        "DROP SCHEMA staging CASCADE",
        "DROP TABLE staging.manifests CASCADE",
        "DROP TABLE staging.copies",
        "DROP VIEW gold.segment_current",
        "DROP VIEW gold.customers_masked",
        "DROP TABLE audit.gate_results",
        "DROP TABLE audit.decisions",
        "DROP TABLE audit.migrations",
        "DROP TABLE audit.rejected_rows",
        "DROP SCHEMA audit CASCADE",
        "DROP SCHEMA gold CASCADE",
        "DROP TABLE gold.customers CASCADE",
        "ALTER TABLE staging.manifests DROP COLUMN code_version",
        "DROP INDEX audit.gate_episodes_open",
    ],
)
def test_what_somebody_dropped_is_made_again(gold: GoldDatabase, damage: str) -> None:
    whole = shape(gold)
    gold.query(damage)
    assert shape(gold) != whole or "migrations" in damage
    assert migrate(gold.secret, DATASET)
    assert shape(gold) == whole
    assert migrate(gold.secret, DATASET) == ()


def test_a_view_that_somebody_changed_is_put_right(gold: GoldDatabase) -> None:
    masked = gold.value("SELECT pg_get_viewdef('gold.customers_masked'::regclass)")
    gold.query("DROP VIEW gold.customers_masked")
    gold.query("CREATE VIEW gold.customers_masked AS SELECT * FROM gold.customers")
    migrate(gold.secret, DATASET)
    assert gold.value("SELECT pg_get_viewdef('gold.customers_masked'::regclass)") == masked


def test_without_staging_gold_is_refreshed_and_no_set_bears_an_older_ones_number(gold: GoldDatabase) -> None:
    before = publish(gold, "A")
    gold.query("DROP SCHEMA staging CASCADE")
    migrate(gold.secret, DATASET)
    assert "manifest" in str(refresh_due(gold))
    again = publish(gold, "A", "B", kind="rebuild")
    assert again > before
    assert refresh_due(gold) is None
    assert [row[0] for row in gold.gold("customers")] == ["A", "B"]


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE gold.customer_features CASCADE",
        "ALTER TABLE gold.customers DROP COLUMN email CASCADE",
        "DROP TABLE audit.rejected_rows",
    ],
)
def test_what_was_made_again_empty_is_computed_from_scratch(gold: GoldDatabase, damage: str) -> None:
    publish(gold, "A")
    assert refresh_due(gold) is None
    gold.query(damage)
    migrate(gold.secret, DATASET)
    assert "made again" in str(refresh_due(gold))
    publish(gold, "A", kind="rebuild")
    assert refresh_due(gold) is None


def test_a_rejection_after_the_list_was_lost_has_a_number_of_its_own(gold: GoldDatabase) -> None:
    reject = (
        "INSERT INTO audit.rejected_rows (dataset, key, event_time, rejected_by) "
        "VALUES ('customers', 'A', now(), 'tester') RETURNING rejection_id"
    )
    before = gold.value(reject)
    publish(gold, "B")
    gold.query("DROP TABLE audit.rejected_rows")
    migrate(gold.secret, DATASET)
    assert gold.value(reject) > before


def test_a_view_of_others_on_a_view_of_gold_hinders_no_added_column(gold: GoldDatabase) -> None:
    gold.query("CREATE SCHEMA analytics")
    gold.query("CREATE VIEW analytics.people AS SELECT customer_id FROM gold.customers_masked")
    gold.query("CREATE VIEW analytics.segments AS SELECT * FROM gold.segment_current")
    region = Column("region", ColumnType.STRING, "Region.")
    changed = DATASET
    for name, first in (("region", False), ("district", True)):  # a view gets a column at its end only
        changed = with_column(changed, "customers", replace(region, name=name), first=first)
        assert any("VIEW" in line for line in migrate(gold.secret, changed))
        assert gold.query(f"SELECT {name} FROM gold.customers_masked") == []
        assert migrate(gold.secret, changed) == ()
        gold.query("SELECT * FROM analytics.people, analytics.segments")


def test_a_view_of_others_in_the_way_is_named_with_its_owner(gold: GoldDatabase) -> None:
    gold.query("DROP ROLE IF EXISTS analyst")
    gold.query("CREATE ROLE analyst")
    try:
        gold.query("CREATE SCHEMA analytics AUTHORIZATION analyst")
        gold.query("CREATE VIEW analytics.people AS SELECT monthly_charges FROM gold.customers_masked")
        gold.query("ALTER VIEW analytics.people OWNER TO analyst")
        with pytest.raises(MigrationError, match=r"view analytics\.people of analyst shows"):
            migrate(gold.secret, retyped(DATASET))
        gold.query("DROP VIEW analytics.people")
        gold.query("CREATE MATERIALIZED VIEW analytics.charges AS SELECT monthly_charges FROM gold.customers")
        with pytest.raises(MigrationError, match=r"view analytics\.charges of .* shows .*monthly_charges"):
            migrate(gold.secret, retyped(DATASET))
        gold.query("DROP MATERIALIZED VIEW analytics.charges")
        gold.query("CREATE VIEW analytics.bystander AS SELECT * FROM gold.segment_current")
        assert migrate(gold.secret, retyped(DATASET))
    finally:
        gold.query("DROP SCHEMA analytics CASCADE")
        gold.query("DROP OWNED BY analyst; DROP ROLE analyst")


def test_grants_options_and_comments_of_others_outlive_a_view_that_must_be_made_again(
    gold: GoldDatabase,
) -> None:
    gold.query('DROP ROLE IF EXISTS "re\'porter"')
    gold.query('CREATE ROLE "re\'porter"')
    grants = (
        "SELECT relacl::text, reloptions::text, obj_description(c.oid, 'pg_class'), "
        "(SELECT attacl::text FROM pg_attribute a WHERE attrelid = c.oid AND attname = 'customer_id') "
        "FROM pg_class c WHERE oid = 'gold.customers_masked'::regclass"
    )
    try:
        gold.query('GRANT SELECT ON gold.customers_masked TO "re\'porter" WITH GRANT OPTION')
        gold.query("GRANT SELECT ON gold.segment_current TO PUBLIC")
        gold.query('GRANT UPDATE (customer_id) ON gold.customers_masked TO "re\'porter"')
        gold.query("ALTER VIEW gold.customers_masked SET (security_barrier = true)")
        gold.query("COMMENT ON VIEW gold.customers_masked IS 'Ask the team''s lead'")
        before = gold.query(grants)
        assert migrate(gold.secret, retyped(DATASET))
        assert sorted(before[0][0].strip("{}").split(",")) == sorted(
            gold.query(grants)[0][0].strip("{}").split(",")
        )
        assert gold.query(grants)[0][1:] == before[0][1:]
        assert gold.value("SELECT has_table_privilege('public', 'gold.segment_current', 'SELECT')")
    finally:
        gold.query('DROP OWNED BY "re\'porter"; DROP ROLE "re\'porter"')


def test_a_role_that_somebody_dropped_is_made_again_with_its_grants(gold: GoldDatabase) -> None:
    gold.query("DROP OWNED BY gold_reader")
    migrate(gold.secret, DATASET)
    assert gold.value("SELECT has_table_privilege('gold_reader', 'gold.segment_current', 'SELECT')")


def test_a_dump_restored_without_owners_is_the_writers_again(
    gold: GoldDatabase, postgres_server: PostgresServer
) -> None:
    gold.query("ALTER SCHEMA gold OWNER TO postgres; ALTER TABLE gold.customers OWNER TO postgres")
    gold.query(
        "ALTER VIEW gold.customers_masked OWNER TO postgres; ALTER TABLE staging.manifests OWNER TO postgres"
    )
    gold.query("DROP ROLE IF EXISTS some_writer")
    gold.query("CREATE ROLE some_writer LOGIN PASSWORD 'p' IN ROLE medallion_writer")
    try:
        database = gold.value("SELECT current_database()")
        login = GoldDatabase(postgres_server.dsn(database, "some_writer", "p"))
        with pytest.raises(GoldError, match=r"postgres owns what medallion_writer must own.*ALTER"):
            migrate(login.secret, DATASET)
        migrate(gold.secret, DATASET)
        owners = gold.query(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relkind IN ('r', 'v') AND "
            "relnamespace IN ('gold'::regnamespace, 'staging'::regnamespace, 'audit'::regnamespace)"
        )
        assert owners == [("medallion_writer",)]
        assert migrate(login.secret, DATASET) == ()
    finally:
        gold.query("DROP ROLE some_writer")


def test_a_refused_change_keeps_nothing_else_from_being_mended(gold: GoldDatabase) -> None:
    publish(gold, "A")
    for damage in (
        "REVOKE USAGE ON SCHEMA gold FROM gold_reader",
        "DROP VIEW gold.customers_masked CASCADE",
        "DROP VIEW gold.segment_current",
        "REVOKE SELECT ON gold.customer_features FROM gold_reader",
        "ALTER TABLE gold.customer_features DROP COLUMN tenure_band CASCADE",
        "ALTER TABLE gold.customers ALTER tenure TYPE bigint",
        "ALTER TABLE gold.customer_history DROP CONSTRAINT customer_history_pkey",
        "INSERT INTO gold.customer_history SELECT * FROM gold.customer_history",
    ):
        gold.query(damage)
    with pytest.raises(MigrationError) as refused:
        migrate(gold.secret, DATASET)
    key, kind = sorted(refused.value.problems)
    assert "gold.customers.tenure: is bigint" in kind
    assert "customer_history" in key
    assert "ADD PRIMARY KEY (" in key
    with psycopg.connect(gold.dsn) as connection:
        connection.execute("SET ROLE gold_reader")
        assert connection.execute("SELECT count(*) FROM gold.customers_masked").fetchone() == (1,)
        assert connection.execute("SELECT count(tenure_band) FROM gold.customer_features").fetchone()
        assert connection.execute("SELECT count(*) FROM gold.segment_current").fetchone()
    assert not_readable(gold) == []


def test_a_changed_file_keeps_readers_from_nothing(gold: GoldDatabase) -> None:
    publish(gold, "A")
    gold.query("UPDATE audit.migrations SET checksum = 'other' WHERE name = '0001_publication'")
    gold.query("DROP VIEW gold.customers_masked")
    gold.query("REVOKE USAGE ON SCHEMA gold FROM gold_reader")
    with pytest.raises(MigrationError, match="0001_publication"):
        migrate(gold.secret, DATASET)
    assert not_readable(gold) == []


def test_a_dropped_key_is_made_again_where_the_rows_allow_it(gold: GoldDatabase) -> None:
    publish(gold, "A", "B")
    gold.query("ALTER TABLE gold.customers DROP CONSTRAINT customers_pkey")
    assert any("ADD PRIMARY KEY" in line for line in migrate(gold.secret, DATASET))
    assert migrate(gold.secret, DATASET) == ()


def test_another_key_is_refused_with_the_statement_that_mends_it(gold: GoldDatabase) -> None:
    gold.query(
        "ALTER TABLE gold.customers DROP CONSTRAINT customers_pkey, ADD PRIMARY KEY (customer_id, updated_at)"
    )
    with pytest.raises(MigrationError, match=r"the key is \(customer_id, updated_at\).*ADD PRIMARY KEY \("):
        migrate(gold.secret, DATASET)


def test_a_view_of_others_in_the_way_of_a_type_keeps_no_column_away(gold: GoldDatabase) -> None:
    gold.query("CREATE VIEW public.mine AS SELECT monthly_charges FROM gold.customers")
    wanted = with_column(retyped(DATASET), "customer_features", Column("extra", ColumnType.STRING, "Extra."))
    with pytest.raises(MigrationError, match=r"view public.mine of .* shows"):
        migrate(gold.secret, wanted)
    assert gold.query("SELECT count(extra) FROM gold.customer_features") == [(0,)]
    gold.query("DROP VIEW public.mine")
    assert any("numeric" in line for line in migrate(gold.secret, wanted))


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        ("REVOKE USAGE ON SCHEMA gold FROM gold_reader", "gold_reader may not use schema gold"),
        ("DROP VIEW gold.customers_masked", "view gold.customers_masked is gone"),
        (
            "REVOKE SELECT ON gold.customer_features FROM gold_reader",
            "gold_reader may not read gold.customer_f",
        ),
        (
            "REVOKE SELECT ON gold.customers FROM gold_pii_reader",
            "gold_pii_reader may not read gold.customers",
        ),
        ("DROP TABLE gold.segment_hourly CASCADE", "table gold.segment_hourly is gone"),
    ],
)
def test_what_readers_cannot_read_is_noticed(gold: GoldDatabase, damage: str, missing: str) -> None:
    publish(gold, "A")
    assert not_readable(gold) == []
    gold.query(damage)
    assert any(line.startswith(missing) for line in not_readable(gold))
    migrate(gold.secret, DATASET)
    assert not_readable(gold) == []
