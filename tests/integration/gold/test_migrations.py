"""The migrations bring any gold database forward, lose nothing, and can run twice at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from medallion_contracts.errors import GoldError, MigrationError
from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Column, ColumnType, Dataset
from medallion_ops.migrations import runner
from medallion_ops.migrations.runner import ensure_migrated, migrate
from medallion_store.secret import Secret

DATASET = load_dataset("customers")


def with_column(
    dataset: Dataset, table: str, change: Callable[[tuple[Column, ...]], tuple[Column, ...]]
) -> Dataset:
    """The dataset with the columns of one gold table changed, as if its contract had been edited."""
    changed = replace(dataset.gold[table], columns=change(dataset.gold[table].columns))
    return replace(dataset, gold={**dataset.gold, table: changed})


def narrowed(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(replace(c, precision=6) if c.name == "monthly_charges" else c for c in columns)


def insert_segment(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO gold.segment_hourly VALUES ('No', 'One year', '2024-01-01', 3, 2, 1, 30.00, 10.00)"
    )


def test_the_monitor_that_comes_before_gold_brings_a_database_forward_and_leaves_a_current_one(
    postgres: str,
) -> None:
    assert ensure_migrated(Secret(postgres), [DATASET])
    assert not ensure_migrated(Secret(postgres), [DATASET])
    with psycopg.connect(postgres) as connection:
        connection.execute("DELETE FROM audit.migrations WHERE name = '0040_watch'")  # as before new code
        connection.execute("ALTER TABLE audit.incidents DROP COLUMN watch_key")
    assert ensure_migrated(Secret(postgres), [DATASET])
    assert migrate(Secret(postgres), DATASET) == ()


def test_a_fresh_database_gets_everything_and_a_second_run_does_nothing(postgres: str) -> None:
    done = migrate(Secret(postgres), DATASET)
    assert "applied 0001_publication" in done
    assert migrate(Secret(postgres), DATASET) == ()
    with psycopg.connect(postgres) as connection:
        for name, table in DATASET.gold.items():
            columns = connection.execute(f"SELECT * FROM gold.{name}").description or []
            assert tuple(column.name for column in columns) == table.column_names


def test_two_runs_at_once_are_as_good_as_one(postgres: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: migrate(Secret(postgres), DATASET), range(4)))
    assert sorted(map(bool, runs)) == [False, False, False, True]


def test_an_added_field_reaches_old_rows_with_its_default(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    with psycopg.connect(postgres) as connection:
        insert_segment(connection)
    region = Column("region", ColumnType.STRING, "Region.", required=True, default="Nor'd")
    changed = with_column(DATASET, "segment_hourly", lambda columns: (*columns, region))
    assert any("region" in line for line in migrate(Secret(postgres), changed))
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT updates, region FROM gold.segment_hourly").fetchall() == [
            (3, "Nor'd")
        ]
    assert migrate(Secret(postgres), changed) == ()


def test_an_added_required_feature_is_not_null_once_a_full_write_has_filled_it(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    feature = Column("score", ColumnType.INTEGER, "Score.", required=True)
    changed = with_column(DATASET, "segment_hourly", lambda columns: (*columns, feature))
    with psycopg.connect(postgres) as connection:
        insert_segment(connection)
    migrate(Secret(postgres), changed)
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE gold.segment_hourly SET score = 1")
    migrate(Secret(postgres), changed)
    with psycopg.connect(postgres) as connection, pytest.raises(psycopg.errors.NotNullViolation):
        connection.execute("UPDATE gold.segment_hourly SET score = NULL")


def test_a_column_that_left_the_contract_keeps_its_values_and_hinders_nothing(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    with psycopg.connect(postgres) as connection:
        insert_segment(connection)
    shorter = with_column(
        DATASET, "segment_hourly", lambda columns: tuple(c for c in columns if c.name != "customers")
    )
    migrate(Secret(postgres), shorter)
    with psycopg.connect(postgres) as connection:
        connection.execute(
            "INSERT INTO gold.segment_hourly (internet_service, contract, hour, updates, new_customers, "
            "monthly_charges_sum, monthly_charges_avg) VALUES ('DSL', 'One year', '2024-01-01', 1, 1, 1, 1)"
        )
        rows = connection.execute("SELECT customers FROM gold.segment_hourly ORDER BY updates").fetchall()
    assert rows == [(None,), (2,)]


def test_tables_made_without_room_for_updates_get_it(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    with psycopg.connect(postgres) as connection:
        connection.execute("ALTER TABLE gold.customers RESET (fillfactor)")
    assert 'ALTER TABLE "gold"."customers" SET (fillfactor = 90)' in migrate(Secret(postgres), DATASET)
    assert migrate(Secret(postgres), DATASET) == ()


def test_a_wider_type_follows_the_contract_although_a_view_shows_the_column(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    changed = with_column(
        DATASET,
        "customers",
        lambda columns: tuple(
            replace(c, precision=14) if c.name == "monthly_charges" else c for c in columns
        ),
    )
    assert any("numeric(14,2)" in line for line in migrate(Secret(postgres), changed))
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM gold.customers_masked").fetchone() == (0,)


def test_changes_that_could_lose_data_are_refused_all_at_once(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    changed = with_column(with_column(DATASET, "customers", narrowed), "customer_features", narrowed)
    with pytest.raises(MigrationError) as refused:
        migrate(Secret(postgres), changed)
    assert len(refused.value.problems) == 2
    assert "gold.customers.monthly_charges" in str(refused.value)
    assert migrate(Secret(postgres), DATASET) == (), "nothing was changed"


def test_a_script_changed_after_it_was_applied_is_refused(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE audit.migrations SET checksum = 'other' WHERE name = '0001_publication'")
    with pytest.raises(MigrationError, match="0001_publication"):
        migrate(Secret(postgres), DATASET)


def test_a_server_that_is_too_old_is_refused_and_left_as_it_is(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres) as connection:
        running = connection.info.server_version // 10_000
    monkeypatch.setattr(runner, "MINIMUM_VERSION", running + 1)
    with pytest.raises(GoldError, match=rf"version {running}, but {running + 1} or later is needed"):
        migrate(Secret(postgres), DATASET)
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT to_regnamespace('audit')").fetchone() == (None,)
    monkeypatch.setattr(runner, "MINIMUM_VERSION", running)
    assert migrate(Secret(postgres), DATASET), "a server of just that version will do"


def can_read(connection: psycopg.Connection, role: str) -> set[str]:
    return {
        str(row[0])
        for row in connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname IN ('gold', 'staging', 'audit') AND relkind IN ('r', 'v') "
            "AND has_table_privilege(%s, c.oid, 'SELECT') AND has_schema_privilege(%s, n.oid, 'USAGE')",
            [role, role],
        )
    }


def test_readers_see_no_pii_and_nothing_unchecked(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    open_to_all = {"customer_features", "segment_hourly", "segment_current", "customers_masked"}
    with psycopg.connect(postgres) as connection:
        assert can_read(connection, "gold_reader") == open_to_all
        assert can_read(connection, "gold_pii_reader") == open_to_all | {
            "customers",
            "customer_history",
            "publications",
        }
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'gold'")
        assert owners.fetchall() == [("medallion_writer",)]


def test_the_masked_view_shows_one_letter_of_personal_data(postgres: str) -> None:
    migrate(Secret(postgres), DATASET)
    with psycopg.connect(postgres) as connection:
        connection.execute(
            "INSERT INTO gold.customers VALUES ('c1', 'Female', true, false, false, 3, true, 'DSL', "
            "'One year', 10, 30, '2024-01-01', 'Zoe', 'Zander', 'zoe@example.com', '{}', '2024-01-01')"
        )
        shown = connection.execute(
            "SELECT customer_id, first_name, last_name, email FROM gold.customers_masked"
        )
        assert shown.fetchall() == [("c1", "Z***", "Z***", "z***")]
