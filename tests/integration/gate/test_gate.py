"""The gate finds each kind of fault in a staged set, and nothing in a right one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medallion_contracts.errors import GoldError, StaleStaging
from medallion_ops.gate.audit import audit_set
from medallion_ops.gate.verdict import (
    Finding,
    Verdict,
    verdict_of_set,
)
from medallion_ops.gold.publication import publish_set
from medallion_store.postgres import gold_connection
from staged_sets import DATASET, GoldDatabase, version


def audit(gold: GoldDatabase, set_id: int, data_docs: Path | None = None) -> Verdict:
    return audit_set(gold.secret, DATASET, set_id, data_docs)


def finding(verdict: Verdict, label: str) -> Finding:
    [found] = [one for one in verdict.findings if one.label == label]
    return found


def right_set(gold: GoldDatabase) -> int:
    return gold.stage([version("A"), version("A", 1, tenure=11), version("B")])


def test_a_right_set_passes_every_expectation(gold: GoldDatabase) -> None:
    verdict = audit(gold, right_set(gold))

    assert verdict.passed
    assert verdict.failed == ()
    assert len(verdict.findings) > 90


def test_the_verdict_is_kept_and_replaced_as_a_whole(gold: GoldDatabase) -> None:
    set_id = right_set(gold)
    audit(gold, set_id)
    gold.tamper(set_id, "customers", "SET tenure = 5000 WHERE customer_id = 'A'")

    verdict = audit(gold, set_id)

    with gold_connection(gold.secret) as connection:
        assert verdict_of_set(connection, set_id) == verdict
    assert not verdict.passed


FAULTY_ROWS = {
    "customers.gender_present": "gender = NULL",
    "customers.contract_allowed": "contract = 'Weekly'",
    "customers.tenure_in_range": "tenure = 1201",
    "customers.monthly_charges_in_range": "monthly_charges = -0.01, total_charges = 0",
    "customers.total_charges_in_range": "total_charges = -1",
    "customers.first_name_fits": "first_name = repeat('x', 101)",
    "customers.updated_at_not_too_early": "updated_at = '1999-12-31', first_seen_at = '1999-12-31'",
    "customers.customers_have_a_service": "phone_service = false, internet_service = 'No'",
    "customers.customers_charges_possible": "total_charges = 99999",
    "customers.customers_first_seen_before_update": "first_seen_at = updated_at + interval '1s'",
    "customer_features.tenure_band_allowed": "tenure_band = '73-99'",
    "customer_features.updates_count_in_range": "updates_count = 0, plan_changes = -1",
    "customer_features.features_plan_changes_possible": "plan_changes = 9",
    "customer_history.email_present": "email = NULL",
    "customer_history.history_current_is_open": "is_current = false",
}
"""What is set in the row of one customer each, and the expectation that must name that customer."""

FAULTY_TABLES = [
    ("customers", "SET customer_id = 'A'", "customers.customers_unique"),
    (
        "customer_history",
        "SET valid_to = valid_to - interval '1s'",
        "customer_history.customer_history_unbroken",
    ),
    (
        "customer_history",
        "SET valid_to = valid_to + interval '1s'",
        "customer_history.customer_history_unbroken",
    ),
    ("customer_history", "SET is_current = true", "customer_history.customer_history_unbroken"),
    ("customer_history", "SET last_name = 'Byron'", "customer_history.customer_history_current_is_customers"),
    ("customer_history", "WHERE customer_id = 'B'", "customer_history.customer_history_current_is_customers"),
    ("segment_hourly", "SET customers = updates + 1", "segment_hourly.segments_customers_possible"),
    ("segment_hourly", "SET hour = '2026-05-04 12:00+00'", "segment_hourly.segments_unique"),
]


def test_each_faulty_row_is_found_by_its_expectation(gold: GoldDatabase) -> None:
    """All faults are planted in one set, each in the row of a customer of its own."""
    keys = {label: f"K{number:02}" for number, label in enumerate(FAULTY_ROWS)}
    set_id = gold.stage([version(key) for key in keys.values()])
    for label, change in FAULTY_ROWS.items():
        gold.tamper(set_id, label.split(".")[0], f"SET {change} WHERE customer_id = '{keys[label]}'")

    failed = {one.label: one for one in audit(gold, set_id).failed}

    assert {label: [one.key for one in failed[label].examples] for label in keys if label in failed} == {
        label: [key] for label, key in keys.items()
    }


@pytest.mark.parametrize(("table", "change", "expectation"), FAULTY_TABLES)
def test_a_fault_of_a_table_as_a_whole_is_found(
    gold: GoldDatabase, table: str, change: str, expectation: str
) -> None:
    set_id = right_set(gold)
    gold.tamper(set_id, table, change)

    assert expectation in audit(gold, set_id).failed_critical


def test_rows_other_than_the_manifest_counts_are_found(gold: GoldDatabase) -> None:
    set_id = right_set(gold)
    gold.query(f"DELETE FROM staging.s{set_id}_customers WHERE customer_id = 'B'")

    assert "customers.customers_row_count" in audit(gold, set_id).failed_critical


def test_a_failure_tells_count_key_coordinates_and_a_masked_value(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A"), version("B"), version("C"), version("D")])
    gold.tamper(
        set_id, "customers", "SET email = 'Zaphod.B-' || repeat('y', 300) WHERE customer_id IN ('B', 'D')"
    )

    found = finding(audit(gold, set_id), "customers.email_fits")

    assert (found.failing_count, found.row_count, found.failing_percent) == (2, 4, 50.0)
    assert [(one.key, one.coordinates) for one in found.examples] == [
        ("B", "customers/1@1001"),
        ("D", "customers/3@1003"),
    ]
    assert found.examples[0].values == {"email": "xxxxxx.x-" + "x" * 31 + "... (309 characters)"}


def test_warnings_do_not_block(gold: GoldDatabase) -> None:
    set_id = gold.stage([version("A", email="not an address"), version("B")])

    verdict = audit(gold, set_id)

    assert verdict.passed
    assert verdict.failed_warnings == ("customers.customers_email_plausible",)


def test_leaving_rows_out_is_offered_only_where_it_would_help(gold: GoldDatabase) -> None:
    about_rows, about_table = right_set(gold), right_set(gold)
    gold.tamper(about_rows, "customers", "SET tenure = 1201 WHERE customer_id = 'B'")
    gold.tamper(about_table, "customer_history", "SET valid_to = valid_to + interval '1s'")

    assert audit(gold, about_rows).failed_critical == (
        "customer_history.customer_history_current_is_customers",
        "customers.tenure_in_range",
    )
    assert not audit(gold, about_table).can_leave_rows_out

    of_versions = gold.stage([version("A", phone_service=False, internet_service="No"), version("B")])
    assert audit(gold, of_versions).can_leave_rows_out
    of_aggregates = right_set(gold)
    gold.tamper(of_aggregates, "segment_hourly", "SET customers = updates + 1")
    assert not audit(gold, of_aggregates).can_leave_rows_out, "a segment has no version to leave out"


def test_staging_emptied_by_a_crash_is_no_fault_of_the_data(gold: GoldDatabase) -> None:
    set_id = right_set(gold)
    gold.query(f"TRUNCATE staging.s{set_id}_customer_history")

    with pytest.raises(StaleStaging, match="write again"):
        audit(gold, set_id)


def test_an_unknown_set_is_named(gold: GoldDatabase) -> None:
    with pytest.raises(GoldError, match="no staging set 77"):
        audit(gold, 77)


@pytest.fixture
def marked(gold: GoldDatabase, tmp_path: Path) -> tuple[Verdict, Path]:
    """A set whose personal values are marked and break every kind of rule about rows."""
    set_id = gold.stage(
        [
            version(
                "K1",
                first_name="Qmarkfirst" * 11,
                last_name="Qmarklast" * 12,
                email="qmark<b>mail</b>@example.org" * 10,
                gender="Qmarkgender",
                contract="Qmarkcontract",
                tenure=7731,
                monthly_charges="-7731.17",
                total_charges="7731777.17",
            )
        ]
    )
    return audit(gold, set_id, tmp_path), tmp_path


def test_no_unexpected_value_leaves_the_gate_in_clear(
    marked: tuple[Verdict, Path], gold: GoldDatabase
) -> None:
    verdict, docs = marked
    written = [path for path in docs.rglob("*") if path.is_file() and "static" not in path.parts]
    kept = json.dumps(gold.query("SELECT to_jsonb(r) FROM audit.gate_results AS r"))

    assert len(verdict.failed_critical) >= 10
    assert sum(path.suffix == ".html" for path in written) == 5
    for text in (kept, *(path.read_text(errors="replace") for path in written)):
        assert "qmark" not in text.lower()
        # Not as part of a hash or a moment, where any digits may be.
        assert re.search(r"(?<![0-9a-f.])7731(?![0-9a-f])|7731\.17|7731777", text) is None


def test_data_docs_show_counts_keys_and_masked_examples(marked: tuple[Verdict, Path]) -> None:
    [page] = marked[1].glob("customers/validations/customers/set-*/*/customers.html")

    assert "K1, version 2026-05-04T12:00:00+00:00, Kafka customers/0@1000, tenure: 9999" in page.read_text()


def test_data_docs_load_nothing_from_elsewhere_and_run_no_script(marked: tuple[Verdict, Path]) -> None:
    site = marked[1] / "customers"
    pages = list(site.rglob("*.html"))
    assert len(pages) == 5
    for page in pages:
        text = page.read_text()
        assert re.findall(r"<script\b", text, re.IGNORECASE) == []
        sources = re.findall(r"(?:\bsrc|<link[^>]*\bhref)\s*=\s*[\"']?([^\"'\s>]+)", text, re.IGNORECASE)
        assert sources
        assert [one for one in (*sources, *re.findall(r"url\(([^)]*)\)", text)) if "//" in one] == []
        assert all((page.parent / one).resolve().is_relative_to(site) for one in sources)
        assert all((page.parent / one).exists() for one in sources)
    linked = re.findall(r'href="(validations/[^"]+)"', (site / "index.html").read_text())
    assert len(linked) == 4
    assert all((site / one).exists() for one in linked)


def test_a_hostile_key_is_only_text_on_the_pages(gold: GoldDatabase, tmp_path: Path) -> None:
    set_id = gold.stage([version("<script>alert(1)</script>\u202e$k\n", tenure=1201)])

    audit(gold, set_id, tmp_path)

    pages = "".join(page.read_text() for page in tmp_path.rglob("*.html"))
    assert "<script>alert" not in pages
    assert "&lt;script&gt;alert(1)&lt;/script&gt;?$k?" in pages


def test_an_increment_that_came_to_nothing_passes(gold: GoldDatabase) -> None:
    """Every version it touches was left out: all tables are empty, and that is right."""
    assert audit(gold, gold.stage([])).failed == ()


def publish(gold: GoldDatabase, set_id: int) -> None:
    assert audit(gold, set_id).passed
    publish_set(gold.secret, DATASET, set_id)


def test_a_rebuild_that_lost_many_rows_is_held_back(gold: GoldDatabase) -> None:
    publish(gold, gold.stage([version(f"K{number}") for number in range(20)]))

    shrunk = audit(gold, gold.stage([version(f"K{number}") for number in range(17)], kind="rebuild"))
    ordinary = audit(gold, gold.stage([version(f"K{number}") for number in range(18)], kind="rebuild"))

    assert shrunk.failed_critical == (
        "customer_features.customer_features_volume",
        "customers.customers_volume",
    )
    assert ordinary.passed


def test_another_spread_of_values_than_last_time_is_a_warning(gold: GoldDatabase) -> None:
    kinds = ("Month-to-month", "One year", "Two year")
    last = [version(f"K{number}", contract=kinds[number % 3]) for number in range(1500)]
    publish(gold, gold.stage(last))

    same = audit(gold, gold.stage(last))
    other = audit(gold, gold.stage([version(f"K{number}", contract="Two year") for number in range(1500)]))

    assert "contract_distribution" in [one.name for one in same.findings]
    assert same.failed_warnings == ()
    assert other.passed
    assert "customer_features.contract_distribution" in other.failed_warnings


def test_ten_times_the_rows_of_last_time_is_a_warning(
    gold: GoldDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion_ops.gate.drift_checks.ENOUGH_ROWS", 2)
    publish(gold, gold.stage([version("A")]))

    verdict = audit(gold, gold.stage([version(f"K{number}") for number in range(21)]))

    assert verdict.failed_warnings == ("customer_features.customer_features_volume",)


def test_the_command_ends_with_a_verdict_and_shows_no_secret(gold: GoldDatabase, tmp_path: Path) -> None:
    set_id = right_set(gold)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MEDALLION_GOLD_DSN": gold.dsn,
        "MEDALLION_DATA_DOCS_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "medallion_ops.gate", "--set-id"]

    done = subprocess.run([*command, str(set_id)], env=environment, capture_output=True, text=True)
    unknown = subprocess.run([*command, "99"], env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["set_id"], summary["passed"], summary["failed_critical"]) == (set_id, True, [])
    assert (tmp_path / "customers" / "index.html").exists()
    assert unknown.returncode == 1
    assert (
        unknown.stderr.splitlines()[-1]
        == "there is no staging set 99: see staging.manifests for those there are"
    )
    password = gold.dsn.split(":")[2].split("@")[0]
    assert password not in done.stdout + done.stderr + unknown.stderr
