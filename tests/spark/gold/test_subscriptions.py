"""Gold of the second dataset: increments equal what the versions say, beside the first dataset's gold."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from gold_model import gold_of, version
from gold_runs import GoldRuns
from medallion_ops.migrations.runner import migrate
from medallion_store.refresh_plan import RefreshKind
from medallion_store.secret import Secret
from subscription_model import SUBSCRIPTIONS, gold_of_subscriptions, subscription


@pytest.fixture
def services(runs: GoldRuns, spark: SparkSession, postgres: str, tmp_path: Path) -> GoldRuns:
    migrate(Secret(postgres), SUBSCRIPTIONS)
    return GoldRuns(spark, postgres, tmp_path / "lake", SUBSCRIPTIONS)


def test_increments_of_versions_in_any_order_equal_what_the_versions_say(services: GoldRuns) -> None:
    versions = [
        subscription("a", "phone"),
        subscription("a", "internet", variant="DSL", is_active=True),
        subscription("b", "phone", 3, variant="No", paperless_billing=True),
        subscription("c", "tech_support", variant="No internet service"),
    ]
    services.append(versions)
    first = services.run()
    assert first.kind is RefreshKind.FULL
    assert services.gold() == gold_of_subscriptions(versions)
    later = [
        subscription("a", "phone", -30, payment_method="Electronic check"),  # before its first, another day
        subscription("a", "internet", 5, variant="Fiber optic", is_active=True),
        subscription("b", "phone", 40, variant="No", paperless_billing=True),  # a version without a change
        subscription("d", "streaming_tv", 1),
    ]
    services.append(later[:2])
    services.append(later[2:])
    second = services.run()
    assert second.kind is RefreshKind.INCREMENT
    assert second.rows["customer_subscription_features"] == 3, "customer c is not touched"
    assert services.gold() == gold_of_subscriptions(versions + later)
    # A subscription that goes over to another customer leaves the one it was counted for.
    moved = [subscription("d", "streaming_tv", 2) | {"customer_id": "e"}]
    services.append(moved)
    services.run()
    assert services.gold() == gold_of_subscriptions(versions + later + moved)
    assert services.run().kind is RefreshKind.NONE
    # From scratch it comes out the same.
    services.run(full=True)
    assert services.gold() == gold_of_subscriptions(versions + later + moved)


def test_a_rejected_version_of_one_dataset_is_left_out_of_that_one_only(
    runs: GoldRuns, services: GoldRuns
) -> None:
    customers = [version("a", 0), version("a", 1)]
    runs.append(customers)
    versions = [subscription("a", "phone", 0), subscription("a", "phone", 1, paperless_billing=True)]
    services.append(versions)
    runs.run()
    services.run()
    services.reject("a:phone", versions[1]["changed_at"])
    assert services.run().kind is RefreshKind.INCREMENT
    assert services.gold() == gold_of_subscriptions(versions[:1])
    assert runs.run().kind is RefreshKind.NONE, "the other dataset has nothing to do"
    assert runs.gold() == gold_of(customers)
    services.release("a:phone", versions[1]["changed_at"])
    services.run()
    assert services.gold() == gold_of_subscriptions(versions)
