"""Two datasets share a database, and neither waits for the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

from medallion_contracts.loader import dataset_names, load_dataset
from medallion_ops.migrations.runner import migrate
from medallion_store.postgres import gold_connection
from medallion_store.publications import lock_publication
from medallion_store.rejected_rows import rejected_rows
from medallion_store.secret import Secret

DATASETS = tuple(map(load_dataset, dataset_names()))


def test_both_are_migrated_at_once_and_again_change_nothing(postgres: str) -> None:
    with ThreadPoolExecutor(len(DATASETS)) as pool:
        done = list(pool.map(lambda dataset: migrate(Secret(postgres), dataset), DATASETS))
    assert all(done), "each has tables of its own"
    assert [migrate(Secret(postgres), dataset) for dataset in DATASETS] == [()] * len(DATASETS)
    with psycopg.connect(postgres) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'gold'")
        assert {name for (name,) in tables} >= {name for dataset in DATASETS for name in dataset.gold}


def test_a_publication_of_one_does_not_wait_for_one_of_the_other(postgres: str) -> None:
    first, second = (dataset.name for dataset in DATASETS[:2])
    with gold_connection(Secret(postgres)) as one, gold_connection(Secret(postgres)) as other:
        lock_publication(one, first)
        lock_publication(other, second)
        other.execute("SET LOCAL lock_timeout = '1s'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('medallion.publication.' || %s, 0))", [first]
            )
        other.rollback()


@pytest.mark.parametrize("dataset", DATASETS, ids=dataset_names())
def test_a_list_of_rejected_rows_that_bears_one_datasets_names_is_brought_forward(
    postgres: str, dataset: object
) -> None:
    customers = load_dataset("customers")
    migrate(Secret(postgres), customers)
    at = datetime(2026, 5, 4, tzinfo=UTC)
    with psycopg.connect(postgres) as connection:
        # As it was before there were two datasets.
        connection.execute("ALTER TABLE audit.rejected_rows RENAME key TO customer_id")
        connection.execute("ALTER TABLE audit.rejected_rows RENAME event_time TO updated_at")
        connection.execute(
            "INSERT INTO audit.rejected_rows (dataset, customer_id, updated_at, rejected_by) "
            "VALUES ('customers', 'a', %s, 'someone')",
            [at],
        )
    migrate(Secret(postgres), next(one for one in DATASETS if one == dataset))
    with gold_connection(Secret(postgres)) as connection:
        [row] = rejected_rows(connection, customers)
        assert (row.key, row.event_time, row.in_force) == ("a", at, True)
        assert rejected_rows(connection, load_dataset("subscriptions")) == []
