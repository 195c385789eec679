"""When a gold run reads silver's increment, when all of it, and when nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Table
from medallion_store.refresh_plan import (
    Commit,
    LabelSnapshot,
    Published,
    RefreshKind,
    SilverState,
    gold_contract_hash,
    plan,
)

APPEND = Commit(0, "WRITE", "Append", 10)
PUBLISHED = Published(7, "silver-1", 4, "contract")


def silver(*commits: Commit, version: int | None = None, table_id: str = "silver-1") -> SilverState:
    """Silver whose versions after the published one are these commits."""
    numbered = tuple(replace(commit, version=5 + place) for place, commit in enumerate(commits))
    return SilverState(table_id, 4 + len(commits) if version is None else version, numbered)


def test_the_first_run_takes_everything() -> None:
    found = plan(
        None, SilverState("silver-1", 1, (Commit(0, "CREATE TABLE", None, None), APPEND)), "contract"
    )
    assert (found.kind, found.from_version, found.to_version) == (RefreshKind.FULL, None, 1)


def test_a_silver_without_rows_is_nothing_to_publish() -> None:
    created = SilverState("silver-1", 0, (Commit(0, "CREATE TABLE", None, None),))
    assert plan(None, created, "contract").kind is RefreshKind.NONE


def test_new_rows_are_an_increment_up_to_the_newest_version() -> None:
    found = plan(PUBLISHED, silver(APPEND, Commit(0, "OPTIMIZE", None, 10)), "contract")
    assert (found.kind, found.from_version, found.to_version) == (RefreshKind.INCREMENT, 4, 6)


@pytest.mark.parametrize(
    "commit",
    [
        Commit(0, "OPTIMIZE", None, 10),
        Commit(0, "VACUUM END", None, None),
        Commit(0, "ADD COLUMNS", None, None),
        Commit(0, "ADD COLUMN", None, None),
        Commit(0, "WRITE", "Append", 0),
    ],
    ids=lambda commit: f"{commit.operation} {commit.rows}",
)
def test_commits_without_new_rows_are_nothing_to_do(commit: Commit) -> None:
    assert plan(PUBLISHED, silver(commit), "contract").kind is RefreshKind.NONE


def test_nothing_committed_is_nothing_to_do() -> None:
    assert plan(PUBLISHED, silver(), "contract").kind is RefreshKind.NONE


def test_a_streaming_append_that_does_not_tell_its_rows_is_read() -> None:
    assert (
        plan(PUBLISHED, silver(Commit(0, "STREAMING UPDATE", "Append", None)), "contract").kind
        is RefreshKind.INCREMENT
    )


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (silver(Commit(0, "WRITE", "Overwrite", 10)), "rewritten by WRITE"),
        (silver(APPEND, Commit(0, "DELETE", None, None)), "rewritten by DELETE"),
        (silver(Commit(0, "RESTORE", None, None)), "rewritten by RESTORE"),
        (silver(Commit(0, "SOMETHING NEW", None, None)), "rewritten by SOMETHING NEW"),
        (silver(APPEND, table_id="silver-2"), "another table"),
        (silver(version=3), "before the published version"),
        (silver(APPEND, version=6), "no longer holds versions 6"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_told_as_an_increment_is_a_rebuild(state: SilverState, reason: str) -> None:
    found = plan(PUBLISHED, state, "contract")
    assert found.kind is RefreshKind.FULL
    assert reason in found.reason


def test_other_definitions_of_gold_are_a_rebuild() -> None:
    assert plan(PUBLISHED, silver(), "another contract").kind is RefreshKind.FULL


def test_rejecting_or_releasing_a_row_is_something_to_do() -> None:
    published = replace(PUBLISHED, excluded=frozenset({1}))
    assert plan(published, silver(), "contract", excluded=[1]).kind is RefreshKind.NONE
    assert plan(published, silver(), "contract", excluded=[1, 2]).kind is RefreshKind.INCREMENT
    assert plan(published, silver(), "contract", excluded=[]).kind is RefreshKind.INCREMENT


def test_changed_labels_are_something_to_do_once() -> None:
    published = replace(PUBLISHED, labels="2:77")
    kept = LabelSnapshot("2:77", "sha256:a")
    assert (
        plan(published, silver(), "contract", labels=kept, source_version="sha256:a").kind is RefreshKind.NONE
    )
    assert (
        plan(published, silver(), "contract", labels=kept, source_version="sha256:b").kind
        is RefreshKind.INCREMENT
    )
    assert plan(published, silver(), "contract", labels=kept, source_version=None).kind is RefreshKind.NONE, (
        "source missing"
    )


def test_labels_taken_by_a_run_that_died_are_still_to_be_published() -> None:
    kept = LabelSnapshot("3:99", "sha256:b")
    published = replace(PUBLISHED, labels="2:77")
    assert (
        plan(published, silver(), "contract", labels=kept, source_version="sha256:b").kind
        is RefreshKind.INCREMENT
    )


def test_the_contract_hash_covers_what_gold_is_computed_from_and_checked_by() -> None:
    dataset = load_dataset("customers")
    before = gold_contract_hash(dataset)

    def changed(table: Table, **changes: object) -> Table:
        first, *rest = table.columns
        return replace(table, columns=(replace(first, **changes), *rest))  # type: ignore[arg-type]

    for name, table in dataset.gold.items():
        for one in (changed(table, max_length=7), replace(table, rules=table.rules[1:])):
            assert gold_contract_hash(replace(dataset, gold={**dataset.gold, name: one})) != before
    assert gold_contract_hash(replace(dataset, silver=changed(dataset.silver, enum=("x",)))) != before
    assert gold_contract_hash(replace(dataset, events=changed(dataset.events, default="x"))) != before


def test_what_is_only_said_of_gold_costs_no_full_refresh() -> None:
    dataset = load_dataset("customers")
    table = dataset.gold["customers"]
    columns = tuple(replace(column, description="Better words.") for column in table.columns)
    said = replace(table, columns=columns, service_levels=(), description="Else.", fingerprint="other")
    reworded = replace(dataset, gold={**dataset.gold, "customers": said})
    assert gold_contract_hash(reworded) == gold_contract_hash(dataset)


def test_delta_spells_its_history_in_two_ways() -> None:
    by_spark = Commit.from_history(5, "WRITE", {"mode": "Append"}, {"numOutputRows": "10"})
    by_delta_rs = Commit.from_history(5, "WRITE", {"mode": "Append"}, {"num_added_rows": 10})
    assert by_spark == by_delta_rs == Commit(5, "WRITE", "Append", 10)


@pytest.mark.parametrize(
    ("commits", "rows"),
    [
        ((APPEND, APPEND), 20),
        ((APPEND, Commit(0, "OPTIMIZE", None, 500), Commit(0, "WRITE", "Append", 0)), 10),
        ((APPEND, Commit(0, "STREAMING UPDATE", "Append", None)), None),
    ],
    ids=["appends", "files moved", "a commit that does not tell"],
)
def test_a_plan_tells_how_many_rows_there_are_to_read(commits: tuple[Commit, ...], rows: int | None) -> None:
    assert plan(PUBLISHED, silver(*commits), "contract").rows == rows


def test_a_first_publication_tells_the_rows_of_a_silver_whose_whole_history_is_known() -> None:
    history = (Commit(0, "CREATE TABLE", None, None), replace(APPEND, version=1), replace(APPEND, version=2))
    assert plan(None, SilverState("silver-1", 2, history), "contract").rows == 20
    assert plan(None, SilverState("silver-1", 2, history[1:]), "contract").rows is None


@pytest.mark.parametrize(
    ("contract", "source_version"), [("another contract", None), ("contract", "sha256:new")]
)
def test_what_touches_more_than_the_new_rows_does_not_tell_a_number(
    contract: str, source_version: str | None
) -> None:
    found = plan(PUBLISHED, silver(APPEND), contract, labels=LabelSnapshot(), source_version=source_version)
    assert found.rows is None


def test_a_column_that_the_contract_adds_was_not_lost() -> None:
    due = replace(PUBLISHED, refresh_due="made again, so empty: column gold.customers.region")
    assert plan(due, silver(APPEND), "other").reason == "the contracts of gold changed"
    assert plan(due, silver(APPEND), "contract").reason.startswith("made again, so empty")
    gone = replace(due, contract_hash="", refresh_due="the manifest of the last publication is gone")
    assert plan(gone, silver(APPEND), "other").reason.startswith("the manifest")
