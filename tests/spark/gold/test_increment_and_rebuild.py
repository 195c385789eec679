"""Gold after any increments is what its versions say, however they arrived, and equal to a rebuild."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gold_model import DATASET, NOON, Version, gold_of, version
from gold_runs import GoldRuns
from medallion_ops.migrations.runner import migrate
from medallion_store.refresh_plan import RefreshKind
from medallion_store.secret import Secret

UNCOMFORTABLE = 'Zoë "the\nnext" O\'Neil, \\N \\. \t €'


def test_the_first_run_takes_all_of_silver_and_the_next_has_nothing_to_do(runs: GoldRuns) -> None:
    versions = [
        version("a", -3, contract="Month-to-month", monthly_charges=Decimal("20.05")),
        version("a", 0, first_name=UNCOMFORTABLE, last_name="", email="unknown", defaulted_fields=["email"]),
        version("b", 30, tenure=0, total_charges=Decimal("0.00"), partner=False),
    ]
    runs.append(versions)
    first = runs.run()
    assert (first.kind, first.from_version, first.to_version) == (RefreshKind.FULL, None, 0)
    assert runs.gold() == gold_of(versions)
    assert runs.run().kind is RefreshKind.NONE
    DeltaTable(runs.silver).optimize.compact()
    assert runs.run().kind is RefreshKind.NONE, "files moved, no row came"


def test_versions_find_their_place_whatever_order_they_come_in(runs: GoldRuns) -> None:
    versions = [version("a", 0), version("a", 2, contract="Two year"), version("b", 0.5), version("c", 0.2)]
    runs.append(versions)
    runs.run()
    # Before the first of `a` (which moves the hour of the new customer), between its two, after that of `b`.
    late = [version("a", -5), version("a", 1, internet_service="No"), version("b", 40), version("d", -5)]
    runs.append(late[:2])
    runs.append(late[2:])
    second = runs.run()
    assert (second.kind, second.from_version, second.to_version) == (RefreshKind.INCREMENT, 0, 2)
    assert second.rows["customers"] == 3, "customer c is not touched"
    assert runs.gold() == gold_of(versions + late)


def test_staged_versions_say_where_they_came_from(runs: GoldRuns) -> None:
    runs.append([version("a")])
    report = runs.write()
    coordinates = runs.query(
        f"SELECT _topic, _partition, _offset, _incarnation FROM staging.s{report.set_id}_customers"
    )
    assert coordinates == [("customers", 1, 1, 0)]


def test_a_publication_names_the_code_that_wrote_and_the_code_that_published(runs: GoldRuns) -> None:
    runs.append([version("a")])
    runs.run()
    [(version_of_code,)] = runs.query("SELECT code_version FROM gold.publications")
    assert re.fullmatch("[0-9a-f]{12}[+][0-9a-f]{12}", version_of_code)


def test_a_rewritten_silver_is_taken_whole(runs: GoldRuns) -> None:
    runs.append([version("a"), version("b")])
    runs.run()
    kept = [version("a", tenure=11), version("c")]
    runs.overwrite(kept)
    report = runs.run()
    assert (report.kind, report.from_version) == (RefreshKind.FULL, 0)
    assert "rewritten" in report.reason
    assert runs.gold() == gold_of(kept), "b is gone"


def test_another_silver_table_is_taken_whole(runs: GoldRuns) -> None:
    runs.append([version("a")])
    runs.run()
    shutil.rmtree(runs.silver)
    runs.append([version("b")])
    assert "another table" in runs.run().reason
    assert runs.gold() == gold_of([version("b")])


def test_a_silver_restored_from_a_backup_that_has_grown_again_is_taken_whole(
    runs: GoldRuns, tmp_path: Path
) -> None:
    kept = [version("a")]
    runs.append(kept)
    shutil.copytree(runs.silver, tmp_path / "backup")
    runs.append([version("lost")])
    runs.run()
    shutil.rmtree(runs.silver)
    shutil.copytree(tmp_path / "backup", runs.silver)
    after = [version("b"), version("a", 1)]
    for one in after:
        runs.append([one])
    report = runs.run()
    assert (report.kind, "restored" in report.reason) == (RefreshKind.FULL, True)
    assert runs.gold() == gold_of(kept + after)
    last = [version("a", 2)]
    runs.append(last)
    assert runs.run().kind is RefreshKind.INCREMENT
    assert runs.gold() == gold_of(kept + after + last)


def test_versions_vacuumed_before_they_were_published_are_taken_from_what_silver_holds(
    runs: GoldRuns,
) -> None:
    versions = [version("a"), version("b"), version("b", 1)]
    runs.append(versions[:1])
    runs.run()
    runs.append(versions[1:2])
    runs.append(versions[2:])
    table = DeltaTable(runs.silver)
    table.optimize.compact()
    for file in set(Path(runs.silver).rglob("*.parquet")) - {Path(uri) for uri in table.file_uris()}:
        file.unlink()
    report = runs.run()
    assert report.kind is RefreshKind.FULL
    assert "can no longer be read" in report.reason
    assert runs.gold() == gold_of(versions)


def test_rejected_versions_stay_out_until_they_are_released(runs: GoldRuns) -> None:
    versions = [version("a"), version("a", 1, tenure=99), version("b", 1), version("b", 3)]
    runs.append(versions[:3])
    out = ("a", versions[1]["updated_at"])
    runs.reject(*out)
    runs.run()
    assert runs.gold() == gold_of(versions[:3], rejected=[out])
    runs.append(versions[3:])
    runs.run(full=True)
    assert runs.gold() == gold_of(versions, rejected=[out]), "a rebuild leaves it out too"
    runs.release(*out)
    gone = ("b", versions[3]["updated_at"])
    runs.reject(*gone)
    report = runs.run()
    assert (report.kind, report.rows["customers"]) == (RefreshKind.INCREMENT, 2)
    assert runs.gold() == gold_of(versions, rejected=[gone]), "the newest version of b was taken back"


def histories() -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """Up to three increments of versions of few customers in few hours: the more they meet, the better."""
    one = st.builds(
        version,
        st.sampled_from("abcd"),
        st.integers(-12, 12).map(lambda quarter: quarter / 4),
        contract=st.sampled_from(["Month-to-month", "One year", "Two year"]),
        internet_service=st.sampled_from(["DSL", "No"]),
        phone_service=st.booleans(),
        partner=st.booleans(),
        tenure=st.integers(0, 80),
        monthly_charges=st.decimals(0, 200, places=2),
        total_charges=st.decimals(0, 9000, places=2),
    )
    distinct = st.lists(one, min_size=1, max_size=25, unique_by=lambda v: (v["customer_id"], v["updated_at"]))

    def cut(versions: list[dict[str, Any]]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
        points = st.lists(st.integers(1, len(versions)), max_size=2).map(sorted)
        return points.map(
            lambda at: [
                part
                for start, end in zip([0, *at], [*at, len(versions)], strict=True)
                if (part := versions[start:end])
            ]
        )

    return distinct.flatmap(cut)


def check_history(runs: GoldRuns, increments: list[list[Version]], number: int) -> None:
    """Publish each increment, compare with the model; then rebuild, and find nothing to change."""
    lake = GoldRuns(runs.spark, runs.dsn, runs.lake / str(number))
    seen: list[Version] = []
    for position, increment in enumerate(increments):
        lake.append(increment)
        seen.extend(increment)
        # The lake is a new one, the database the last example's: the first write of each is a rebuild.
        report = lake.run()
        assert report.kind is (RefreshKind.INCREMENT if position else RefreshKind.FULL)
        assert lake.gold() == gold_of(seen)
    rebuilt = lake.publish(lake.write(full=True))
    assert rebuilt.changed == 0


@pytest.mark.parametrize(
    "examples", [pytest.param(3, id="few"), pytest.param(60, id="many", marks=pytest.mark.full)]
)
@pytest.mark.timeout(3000)
def test_any_history_cut_anywhere(runs: GoldRuns, examples: int) -> None:
    number = iter(range(1_000_000))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 10,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(histories())
    def check(increments: list[list[dict[str, Any]]]) -> None:
        check_history(runs, increments, next(number))  # type: ignore[arg-type]  # a dict is a Mapping

    check()


def test_a_contract_that_changed_makes_the_next_write_a_full_one(runs: GoldRuns) -> None:
    runs.append([version("a", NOON.hour)])
    runs.run()
    runs.query("UPDATE staging.manifests SET contract_hash = 'that of yesterday'")
    assert migrate(Secret(runs.dsn), DATASET) == ()
    report = runs.write()
    assert (report.kind, report.reason) == (RefreshKind.FULL, "the contracts of gold changed")


def test_rows_left_out_hour_after_hour_are_listed_once(runs: GoldRuns) -> None:
    versions = [version("a"), version("b"), version("b", 1)]
    runs.append(versions)
    runs.reject("b", versions[2]["updated_at"])
    runs.run()
    for hours in (2, 3):
        runs.append([version("a", hours)])
        runs.run()
    [(sets, lists)] = runs.query("SELECT count(*), count(DISTINCT exclusion_id) FROM staging.manifests")
    assert (sets, lists) == (3, 1)
    assert runs.query("SELECT jsonb_array_length(excluded_rows) FROM staging.exclusions") == [(1,)]
