"""Staging that nobody needs any more goes with the nightly maintenance; what may still be published stays."""

from __future__ import annotations

import psycopg
import pytest

from medallion_contracts.model import Severity
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold.publication import publish_set
from medallion_ops.gold.staging_cleanup import drop_published_sets
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.migrations.runner import migrate
from medallion_store.secret import Secret
from staged_sets import DATASET, GoldDatabase, version


@pytest.fixture
def gold(postgres: str) -> GoldDatabase:
    migrate(Secret(postgres), DATASET)
    return GoldDatabase(postgres)


def staged_sets(gold: GoldDatabase) -> set[int]:
    tables = gold.query("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^s[0-9]+_'")
    return {int(name[1:].split("_")[0]) for (name,) in tables}


def noted_copies(gold: GoldDatabase) -> set[int]:
    return {set_id for (set_id,) in gold.query("SELECT set_id FROM staging.copies")}


def stage(gold: GoldDatabase) -> int:
    set_id = gold.stage([version("A")])
    gold.query(f"INSERT INTO staging.copies VALUES ({set_id}, 'customers', 0, 1)")
    return set_id


def publish(gold: GoldDatabase, set_id: int) -> None:
    finding = Finding("customers", "rule", "expect", "A rule.", Severity.CRITICAL, True, True, 1)
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, Verdict(set_id, "hash", (finding,)))
    publish_set(gold.secret, DATASET, set_id)


def drop(gold: GoldDatabase) -> list[int]:
    return drop_published_sets(DATASET.name, GoldSettings(dsn=gold.secret))


def test_nothing_is_dropped_before_the_first_publication(gold: GoldDatabase) -> None:
    waiting = stage(gold)

    assert drop(gold) == []
    assert staged_sets(gold) == {waiting}


def test_sets_up_to_the_published_one_go_and_a_newer_one_stays(gold: GoldDatabase) -> None:
    replaced, published = stage(gold), stage(gold)
    publish(gold, published)
    waiting = stage(gold)

    assert drop(gold) == [replaced, published]

    assert staged_sets(gold) == noted_copies(gold) == {waiting}
    assert drop(gold) == []


def test_a_set_that_somebody_reads_is_left_to_the_next_day(gold: GoldDatabase) -> None:
    published = stage(gold)
    publish(gold, published)

    with psycopg.connect(gold.dsn) as reader:
        reader.execute(f'SELECT * FROM staging."s{published}_customers"'.encode())
        assert drop(gold) == []
        assert staged_sets(gold) == noted_copies(gold) == {published}
    assert drop(gold) == [published]
