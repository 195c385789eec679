"""Another dataset costs a folder of contracts and a module: written here, driven from its topic to gold.

It differs wherever a dataset may: an integer key, no table of versions, no enrichment, a decimal of scale 4,
a field that may be null, an event time of its own name, another watermark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from pyspark.sql import SparkSession

import medallion_spark.gold
from gold_runs import GoldRuns
from medallion_contracts import loader
from medallion_contracts.errors import ContractError
from medallion_contracts.model import Dataset
from medallion_ops.migrations.runner import migrate
from medallion_spark.gold.transforms import transforms_of
from medallion_store.lake_paths import LakePaths
from medallion_store.refresh_plan import RefreshKind
from medallion_store.secret import Secret
from stream_runs import Topics, ledger, read, running, stream, totals, wait_for

HEAD = """\
apiVersion: v3.2.0
kind: DataContract
id: urn:medallion:orders:{name}
name: orders_{name}
version: 1.0.0
status: active
schema:
  - name: {table}
    physicalName: orders
    logicalType: object
    description: Orders.
"""
EVENTS = """\
    customProperties:
      - { property: replayTopic, value: orders_replay }
      - { property: eventTime, value: placed_at }
    properties:
      - name: order_no
        logicalType: integer
        logicalTypeOptions: { format: i64, minimum: 1 }
        required: true
        primaryKey: true
        primaryKeyPosition: 1
        description: Number of the order.
      - name: amount
        logicalType: number
        physicalType: decimal(12,4)
        description: What it costs.
        customProperties: [{ property: default, value: "0.0000" }]
      - name: status
        logicalType: string
        description: How far it is.
        enum: [{ value: placed }, { value: sent }]
        customProperties: [{ property: default, value: placed }]
      - name: note
        logicalType: string
        logicalTypeOptions: { maxLength: 200 }
        description: What the customer wrote; null where nothing.
      - name: placed_at
        logicalType: timestamp
        required: true
        primaryKey: true
        primaryKeyPosition: 2
        description: When it became so.
"""
GOLD = """\
    customProperties:
      - property: columnsFrom
        value: { contract: events, primaryKey: [order_no] }
    properties:
      - name: updates_count
        logicalType: integer
        physicalType: int
        required: true
        description: Versions known.
      - name: amount_with_tax
        logicalType: number
        physicalType: decimal(14,4)
        required: true
        description: With a fifth of tax.
        transformLogic: round(amount * 1.2, 4)
"""
BY_STATUS = """\
    customProperties:
      - property: columnsFrom
        value: { contract: events, primaryKey: [status], columns: [status] }
    properties:
      - name: orders_count
        logicalType: integer
        physicalType: bigint
        logicalTypeOptions: { format: i64 }
        required: true
        description: Orders that are so far.
        transformLogic: count(*)
      - name: amount_sum
        logicalType: number
        physicalType: decimal(20,4)
        required: true
        description: What they cost.
        transformLogic: sum(amount)
"""
MODULE = """\
from medallion_contracts.loader import load_dataset
from medallion_spark.gold.transforms import GoldTransforms

GOLD = GoldTransforms(load_dataset("orders"), counters={"updates_count": ()})
"""


def _silver() -> str:
    """The silver contract of another dataset, for its technical columns."""
    lines = loader.contract_folders()["customers"].joinpath("silver.odcs.yaml").read_text()
    return lines.replace("customers", "orders").replace("updated_at", "placed_at")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files that the dataset is made of, where the loader and the gold job find them."""
    home = tmp_path / "orders"
    home.mkdir()
    (home / "events.odcs.yaml").write_text(HEAD.format(name="events", table="events") + EVENTS)
    (home / "silver.odcs.yaml").write_text(_silver())
    (home / "gold_orders.odcs.yaml").write_text(HEAD.format(name="gold_orders", table="orders") + GOLD)
    (home / "gold_orders_by_status.odcs.yaml").write_text(
        HEAD.format(name="gold_orders_by_status", table="orders_by_status") + BY_STATUS
    )
    modules = tmp_path / "gold"
    modules.mkdir()
    (modules / "orders.py").write_text(MODULE)
    known = loader.contract_folders()
    monkeypatch.setattr(loader, "contract_folders", lambda: {**known, "orders": home})
    monkeypatch.setattr(medallion_spark.gold, "__path__", [*medallion_spark.gold.__path__, str(modules)])
    monkeypatch.delitem(__import__("sys").modules, "medallion_spark.gold.orders", raising=False)
    loader.load_dataset.cache_clear()
    invalidate_caches()
    yield home
    loader.load_dataset.cache_clear()


@pytest.fixture
def orders(folder: Path) -> Dataset:
    return loader.load_dataset("orders")


def order(number: object, at: datetime, **fields: object) -> bytes:
    return json.dumps({"order_no": number, "placed_at": at.isoformat(), **fields}).encode()


def test_it_goes_from_its_topic_to_gold(
    orders: Dataset, broker: str, spark: SparkSession, postgres: str, secrets_file: Path, tmp_path: Path
) -> None:
    secrets_file.write_text(f"MEDALLION_GOLD_DSN={postgres}\n")
    migrate(Secret(postgres), orders)
    topics = Topics(broker, partitions=1)
    topics.dataset = replace(orders, topic=topics.dataset.topic, replay_topic=topics.dataset.replay_topic)
    paths = LakePaths(str(tmp_path / "lake"), "orders")
    gold = GoldRuns(spark, postgres, tmp_path / "lake", orders)
    now = datetime.now(UTC) - timedelta(minutes=1)
    producer: Any = KafkaProducer(bootstrap_servers=broker, acks="all")

    def send(*values: bytes) -> None:
        for value in values:
            producer.send(
                topics.dataset.topic, key=str(json.loads(value).get("order_no")).encode(), value=value
            )
        producer.flush()

    send(
        order(1, now - timedelta(hours=3), amount=10.1234, status="placed"),
        order(2, now - timedelta(hours=1), amount="0.0001"),
        order(2, now - timedelta(hours=1), amount="0.0001"),  # sent twice
        order("3", now),  # a text is no number
        order(0, now),
        order(4, now, amount=0.00001),  # a digit too many
        order(1, now - timedelta(hours=2), amount=10.1234, status="sent", note="Ring twice"),
    )
    with running(stream(spark, topics, paths, watermark_minutes=1440), paths):
        wait_for(lambda: read(paths) == 7)
    assert totals(paths)["silver"] == 3
    assert not any(row["key_mismatch"] for row in ledger(paths)), "the key is the number as text"
    first = gold.run()
    assert first.kind is RefreshKind.FULL
    assert gold.query(
        "SELECT order_no, amount, status, note, updates_count, amount_with_tax FROM gold.orders ORDER BY 1"
    ) == [
        (1, Decimal("10.1234"), "sent", "Ring twice", 2, Decimal("12.1481")),
        (2, Decimal("0.0001"), "placed", None, 1, Decimal("0.0001")),
    ]
    assert gold.run().kind is RefreshKind.NONE
    send(order(2, now, amount=5, status="sent"))
    with running(stream(spark, topics, paths, watermark_minutes=1440), paths):
        wait_for(lambda: read(paths) == 8)
    second = gold.run()
    assert "without a table of versions" in second.reason
    by_status = "SELECT status, orders_count, amount_sum FROM gold.orders_by_status"
    assert gold.query(by_status) == [("sent", 2, Decimal("15.1234"))]
    gold.reject("2", now)
    gold.run()
    assert sorted(gold.query(by_status)) == [
        ("placed", 1, Decimal("0.0001")),
        ("sent", 1, Decimal("10.1234")),
    ]
    producer.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("counters={", 'previous=("price",), counters={'), "price is no column of events"),
        (('"updates_count"', '"changes"'), "has the columns changes"),
        (("GOLD =", "TRANSFORMS ="), "declares no GOLD"),
    ],
)
def test_a_module_that_contradicts_the_contracts_is_refused(
    folder: Path, orders: Dataset, change: tuple[str, str], said: str
) -> None:
    (folder.parent / "gold" / "orders.py").write_text(MODULE.replace(*change))
    with pytest.raises(ContractError, match=said):
        transforms_of(orders)


def test_a_dataset_without_a_module_and_one_with_broken_contracts_name_what_is_missing(
    folder: Path, orders: Dataset
) -> None:
    (folder.parent / "gold" / "orders.py").unlink()
    invalidate_caches()
    with pytest.raises(ContractError, match="no module medallion_spark"):
        transforms_of(orders)
    (folder / "silver.odcs.yaml").unlink()
    text = (folder / "events.odcs.yaml").read_text()
    (folder / "events.odcs.yaml").write_text(text.replace("value: placed_at", "value: sent_at"))
    (folder / "gold_orders.odcs.yaml").write_text("schema: []")
    loader.load_dataset.cache_clear()
    with pytest.raises(ContractError) as refused:
        loader.load_dataset("orders")
    said = str(refused.value)
    assert "silver.odcs.yaml: missing" in said
    assert "gold_orders" in said
    assert loader.load_dataset("customers").name == "customers", "the others run on"
