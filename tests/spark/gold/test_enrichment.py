"""Labels of an outside source reach every customer they are about, and a broken source harms nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import DataFrame, SparkSession

from gold_model import gold_of, version
from gold_runs import GoldRuns, csv_of
from medallion_spark.gold import enrichment
from medallion_spark.gold.enrichment import BrokenSource, examine, read_labels, source_version
from medallion_store.refresh_plan import RefreshKind


def test_labels_reach_customers_that_nothing_else_touches(runs: GoldRuns, tmp_path: Path) -> None:
    source = tmp_path / "churn.csv"
    versions = [version("a"), version("b"), version("c")]
    runs.append(versions)
    assert runs.run(churn_source=str(source)).warning, (
        "a source that was never there gives nulls, and a warning"
    )
    assert runs.gold() == gold_of(versions)

    source.write_text(csv_of({"a": "Yes", "b": "No", "stranger": "Yes"}))
    report = runs.run(churn_source=str(source))
    assert (report.kind, report.rows["customer_features"]) == (RefreshKind.INCREMENT, 2)
    assert runs.gold() == gold_of(versions, {"a": True, "b": False})
    assert runs.run(churn_source=str(source)).kind is RefreshKind.NONE

    source.write_text(csv_of({"a": "Yes", "b": "maybe"}))
    for _ in range(2):  # as long as it is broken, each run says so
        broken = runs.run(churn_source=str(source))
        assert broken.kind is RefreshKind.NONE
        assert "1 labels that are neither yes nor no" in str(broken.warning)
    source.unlink()
    later = [version("a", 1), version("b", 1)]
    runs.append(later)
    missing = runs.run(churn_source=str(source))
    assert "last snapshot of 3 labels" in str(missing.warning)
    assert runs.gold() == gold_of(versions + later, {"a": True, "b": False}), "the last snapshot holds"

    source.write_text(csv_of({"b": "Yes", "c": "No"}))
    runs.run(churn_source=str(source))
    assert runs.gold() == gold_of(versions + later, {"b": True, "c": False}), "a label that went away is null"
    assert runs.publish(runs.write(churn_source=str(source), full=True)).changed == 0


def test_a_source_that_could_not_be_read_once_is_read_by_the_next_run(
    runs: GoldRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "churn.csv"
    source.write_text(csv_of({"a": "No"}))
    versions = [version("a")]
    runs.append(versions)
    runs.run(churn_source=str(source))

    def loses_its_executor(labels: DataFrame, shown: str) -> tuple[int, str]:
        raise BrokenSource(f"{shown} cannot be read: ExecutorLostFailure")

    source.write_text(csv_of({"a": "Yes"}))
    with monkeypatch.context() as fault:
        fault.setattr(enrichment, "examine", loses_its_executor)
        assert "ExecutorLostFailure" in str(runs.run(churn_source=str(source)).warning)
    assert runs.gold() == gold_of(versions, {"a": False})

    runs.run(churn_source=str(source))
    assert runs.gold() == gold_of(versions, {"a": True})


def test_a_row_in_place_of_the_header_is_not_told(spark: SparkSession, tmp_path: Path) -> None:
    source = tmp_path / "churn.csv"
    source.write_text("7590-VHVEG,marked-secret@example.org,Yes\n")
    with pytest.raises(BrokenSource, match="none of its 3 is customer_id or churned") as broken:
        check(spark, str(source))
    assert "marked-secret" not in str(broken.value)


def check(spark: SparkSession, source: str) -> dict[str, bool]:
    """The labels of a source after all checks."""
    labels = read_labels(spark, source, "customer_id")
    examine(labels, source)
    return {row["key"]: row["label"] for row in labels.collect()}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("customerID,Churn\n", "no rows"),
        ("customerID,Churn\na,Yes\na,No\n", "1 keys with both labels"),
        ("customerID,Churn\na,maybe\nb,2\n", "2 labels that are neither yes nor no"),
        ("customerID,Churn\n,Yes\n", "1 rows without a key"),
        (f"customerID,Churn\n{'x' * 2001},Yes\n", "1 keys that Postgres cannot store"),
        ("customerID,Churn\na,\n", "1 rows without a label"),
        ("name,Churn\na,Yes\n", "needs a column customer_id"),
        ("customerID\na\n", "and a column churned"),
        ("", "needs a column customer_id"),
    ],
    ids=lambda value: value[:25] if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_source_is_named(
    spark: SparkSession, tmp_path: Path, text: str, complaint: str
) -> None:
    source = tmp_path / "churn.csv"
    source.write_text(text)
    with pytest.raises(BrokenSource, match=complaint):
        check(spark, str(source))


def test_spellings_and_repeated_rows_are_understood(spark: SparkSession, tmp_path: Path) -> None:
    source = tmp_path / "churn.csv"
    source.write_text("customer_id,plan,churned\n a ,x,TRUE\nb,x,no\nb,y,No\nc,x,1\n")
    assert check(spark, str(source)) == {"a": True, "b": False, "c": True}


def test_a_delta_table_is_a_source_and_its_commits_are_noticed(spark: SparkSession, tmp_path: Path) -> None:
    source = str(tmp_path / "churn")
    assert source_version(source, {}) is None
    write_deltalake(source, pa.table({"customer_id": ["a", "b"], "churned": [True, False]}))
    first = source_version(source, {})
    assert check(spark, source) == {"a": True, "b": False}
    write_deltalake(source, pa.table({"customer_id": ["c"], "churned": [True]}), mode="append")
    assert source_version(source, {}) != first


def test_a_database_table_is_a_source_and_its_login_is_never_shown(
    runs: GoldRuns, secrets_file: Path
) -> None:
    runs.query("CREATE TABLE public.outcomes AS SELECT 'a' AS customer_id, true AS churned")
    login, place = runs.dsn.removeprefix("postgresql://").split("@")
    user, password = login.split(":")
    secrets_file.write_text(
        f"{secrets_file.read_text()}MEDALLION_CHURN_USERNAME={user}\nMEDALLION_CHURN_PASSWORD={password}\n"
    )
    source = f"jdbc:postgresql://{place.split('?')[0]}?table=public.outcomes"
    assert check(runs.spark, source) == {"a": True}
    before = source_version(source, {})
    assert before
    runs.query("UPDATE public.outcomes SET churned = false")
    assert source_version(source, {}) not in (before, None)
    assert source_version(source.replace("outcomes", "absent"), {}) is None
    with pytest.raises(BrokenSource) as broken:
        check(runs.spark, source.replace("public.outcomes", "public.absent&password=marked-secret"))
    assert "absent" in str(broken.value)
    assert "marked-secret" not in str(broken.value)
