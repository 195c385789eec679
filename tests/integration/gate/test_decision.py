"""A person's decision: tied to the set shown, recorded, and the only way past a failed gate."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from medallion_contracts.errors import GoldError
from medallion_contracts.model import Severity
from medallion_ops.gate.decision import (
    Decision,
    Option,
    Question,
    answer,
    ask,
    exclusion_decided,
    options_for,
    question_about,
)
from medallion_ops.gate.row_rejection import reject_failing_rows
from medallion_ops.gate.verdict import Finding, Verdict, keep_verdict
from medallion_ops.gold.publication import publish_set
from medallion_store.rejected_rows import release_row
from staged_sets import DATASET, NOON, GoldDatabase, version

NOW = datetime(2026, 5, 4, 13, 0, tzinfo=UTC)


def failed(set_id: int, *labels: str, about_rows: bool = True) -> Verdict:
    names = [label.split(".", 1) for label in labels or ("customers.tenure_in_range",)]
    findings = [
        Finding(table, name, "expect", "A rule.", Severity.CRITICAL, about_rows, False, 2, 1)
        for table, name in names
    ]
    return Verdict(set_id, "hash", tuple(findings))


def passed(set_id: int) -> Verdict:
    finding = Finding("customers", "rule", "expect", "A rule.", Severity.CRITICAL, True, True, 1)
    return Verdict(set_id, "hash", (finding,))


def held_back(gold: GoldDatabase, *, about_rows: bool = True) -> tuple[int, Verdict]:
    """A set with one impossible tenure, and the verdict on it."""
    set_id = gold.stage([version("A"), version("B", tenure=1201)])
    verdict = failed(set_id, about_rows=about_rows)
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, verdict)
        ask(connection, set_id, "task-1", options_for(verdict, DATASET))
    return set_id, verdict


def decide(gold: GoldDatabase, option: str, *, task: str = "task-1", by: str | None = "grace") -> Decision:
    with psycopg.connect(gold.dsn) as connection:
        return answer(connection, task, option, by, NOW)


def publish_passed(gold: GoldDatabase, set_id: int) -> None:
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, passed(set_id))
    publish_set(gold.secret, DATASET, set_id)


def test_publish_anyway_publishes_and_names_who_and_when(gold: GoldDatabase) -> None:
    set_id, _ = held_back(gold)

    decide(gold, Option.ANYWAY)
    publish_set(gold.secret, DATASET, set_id)

    assert gold.query("SELECT decision, decided_by, decided_at FROM gold.publications") == [
        ("publish anyway", "grace", NOW)
    ]
    assert gold.query("SELECT tenure FROM gold.customers ORDER BY 1") == [(10,), (1201,)]


def test_keeping_it_blocked_leaves_gold_alone(gold: GoldDatabase) -> None:
    set_id, _ = held_back(gold)

    decision = decide(gold, Option.KEEP_BLOCKED, by=None)

    assert decision.option_in_force is Option.KEEP_BLOCKED
    with pytest.raises(GoldError, match="nobody approved"):
        publish_set(gold.secret, DATASET, set_id)


def test_the_last_answer_is_the_one_that_counts(gold: GoldDatabase) -> None:
    set_id, verdict = held_back(gold)
    decide(gold, Option.ANYWAY)
    with psycopg.connect(gold.dsn) as connection:
        ask(connection, set_id, "task-2", options_for(verdict, DATASET))

    decide(gold, Option.KEEP_BLOCKED, task="task-2", by="ada")

    with pytest.raises(GoldError, match="nobody approved"):
        publish_set(gold.secret, DATASET, set_id)
    with psycopg.connect(gold.dsn) as connection, pytest.raises(GoldError, match="nobody decided"):
        exclusion_decided(connection, "customers", "run")


def test_an_answer_does_not_cover_what_a_later_look_of_the_gate_found(gold: GoldDatabase) -> None:
    set_id, _ = held_back(gold)
    decide(gold, Option.ANYWAY)
    with psycopg.connect(gold.dsn) as connection:
        keep_verdict(connection, failed(set_id, "customers.tenure_in_range", "customers.gender_allowed"))

    with pytest.raises(GoldError, match=r"nobody approved it: customers\.gender_allowed"):
        publish_set(gold.secret, DATASET, set_id)


def test_an_answer_to_an_older_set_is_refused(gold: GoldDatabase) -> None:
    set_id, _ = held_back(gold)
    newer = gold.stage([version("A")])

    decision = decide(gold, Option.ANYWAY)

    assert decision.option_in_force is Option.KEEP_BLOCKED
    assert decision.refused == f"the answer is about set {set_id}, but set {newer} has been written since"
    with pytest.raises(GoldError, match="nobody approved"):
        publish_set(gold.secret, DATASET, set_id)
    assert gold.value("SELECT refused FROM audit.decisions") == decision.refused


def test_an_answer_after_gold_moved_on_is_refused(gold: GoldDatabase) -> None:
    first = gold.stage([version("A")])
    held_back(gold)
    gold.query(
        "INSERT INTO gold.publications (dataset, run_id, set_id, kind, silver_table_id, to_version, rows, "
        "decision, written_at) SELECT dataset, run_id, set_id, kind, silver_table_id, to_version, '{}', "
        f"'passed', now() FROM staging.manifests WHERE set_id = {first}"
    )

    assert "gold has been published since" in str(decide(gold, Option.ANYWAY).refused)


def test_leaving_rows_out_is_refused_where_it_was_not_offered(gold: GoldDatabase) -> None:
    held_back(gold, about_rows=False)

    assert "not among the options" in str(decide(gold, Option.WITHOUT_FAILING_ROWS).refused)


def test_an_answer_to_no_question_is_an_error(gold: GoldDatabase) -> None:
    with pytest.raises(GoldError, match="clear the task"):
        decide(gold, Option.ANYWAY, task="another")


def test_a_question_stays_open_until_its_answer_is_known(gold: GoldDatabase) -> None:
    unasked = gold.stage([version("A")], run_id="another")
    set_id, _ = held_back(gold)
    with psycopg.connect(gold.dsn) as connection:
        assert question_about(connection, unasked) is None
        before = question_about(connection, set_id)
        decided = answer(connection, "task-1", Option.KEEP_BLOCKED, "grace", NOW)
        after = question_about(connection, set_id)

    assert (before, after) == (Question(None), Question(decided))


def test_a_run_that_asked_about_one_set_does_not_ask_about_another(gold: GoldDatabase) -> None:
    shown, _ = held_back(gold)
    newer = gold.stage([version("B", tenure=1202)])

    with (
        psycopg.connect(gold.dsn) as connection,
        pytest.raises(
            GoldError, match=f"asked about set {shown} before.* for set {newer}: the next run asks"
        ),
    ):
        question_about(connection, newer)


def test_failing_rows_are_rejected_once_with_their_reasons(gold: GoldDatabase) -> None:
    _, verdict = held_back(gold)
    decide(gold, Option.WITHOUT_FAILING_ROWS)

    with psycopg.connect(gold.dsn) as connection:
        assert exclusion_decided(connection, "customers", "run").decided_by == "grace"
        counts = [reject_failing_rows(connection, DATASET, verdict, "grace") for _ in range(2)]

    assert counts == [1, 1]
    assert gold.query("SELECT key, event_time, expectations, rejected_by FROM audit.rejected_rows") == [
        ("B", NOON, ["customers.tenure_in_range"], "grace")
    ]


def test_a_row_that_fails_several_expectations_is_rejected_once(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("B", tenure=1201, gender="?")])
    labels = ("customers.gender_allowed", "customers.tenure_in_range", "customer_history.tenure_in_range")

    with psycopg.connect(gold.dsn) as connection:
        reject_failing_rows(connection, DATASET, failed(set_id, *labels), "grace")

    [(expectations,)] = gold.query("SELECT expectations FROM audit.rejected_rows")
    assert sorted(expectations) == sorted(labels)


def test_versions_that_would_take_the_place_of_a_failing_one_and_fail_too_go_with_it(
    gold: GoldDatabase,
) -> None:
    set_id = gold.stage(
        [
            version("A"),
            *(version("B", hour, tenure=tenure) for hour, tenure in enumerate((10, 1201, 1202))),
            *(version("C", hour, tenure=tenure) for hour, tenure in enumerate((1201, 10, 1202))),
            version("D", 0, gender="?"),
            version("D", 1, tenure=1201),
        ]
    )

    with psycopg.connect(gold.dsn) as connection:
        assert reject_failing_rows(connection, DATASET, failed(set_id), "grace") == 5

    found = gold.query("SELECT key, event_time, expectations FROM audit.rejected_rows ORDER BY 1, 2")
    tenure = "customers.tenure_in_range"
    assert [(key, int((moment - NOON).total_seconds()) // 3600) for key, moment, _ in found] == [
        ("B", 1),
        ("B", 2),
        ("C", 2),
        ("D", 0),
        ("D", 1),
    ]
    assert [tenure in reasons for *_, reasons in found] == [True, True, True, False, True]
    assert found[3][2] == ["customers.gender_allowed"], "a rule that the newest version did not break"


EARLIER = "passed; rows rejected by an earlier decision of grace about set 1 stay out"


@pytest.mark.parametrize(
    ("run_id", "said"),
    [("run", ("publish without the failing rows", "grace")), ("the-next-run", (EARLIER, None))],
)
def test_a_decision_is_recorded_with_its_run_and_named_by_the_first_later_one(
    gold: GoldDatabase, run_id: str, said: tuple[str, str | None]
) -> None:
    _, verdict = held_back(gold)
    decide(gold, Option.WITHOUT_FAILING_ROWS)
    with psycopg.connect(gold.dsn) as connection:
        reject_failing_rows(connection, DATASET, verdict, "grace")

    for customer in ("A", "C"):
        publish_passed(gold, gold.stage([version(customer)], run_id=run_id))

    assert gold.query("SELECT decision, decided_by FROM gold.publications ORDER BY publication_id") == [
        said,
        ("passed", None),
    ]
    assert gold.value("SELECT count(decided_at) FROM gold.publications") == (said[1] is not None)


def test_a_decision_that_left_nothing_out_is_not_behind_a_set(gold: GoldDatabase) -> None:
    held_back(gold)
    decide(gold, Option.WITHOUT_FAILING_ROWS)  # and the run was killed before it rejected the rows

    publish_passed(gold, gold.stage([version("A")]))

    assert gold.query("SELECT decision, decided_by FROM gold.publications") == [("passed", None)]


def test_a_released_row_may_be_rejected_again(gold: GoldDatabase) -> None:
    _, verdict = held_back(gold)

    with psycopg.connect(gold.dsn) as connection:
        reject_failing_rows(connection, DATASET, verdict, "grace")
        assert release_row(connection, DATASET, "B", NOON, "ada")
        assert not release_row(connection, DATASET, "B", NOON, "ada")
        reject_failing_rows(connection, DATASET, verdict, "grace")

    assert gold.query(
        "SELECT released_by, released_at IS NULL FROM audit.rejected_rows ORDER BY rejection_id"
    ) == [("ada", False), (None, True)]
