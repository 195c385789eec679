"""What the page shows, as rows of Postgres. Every query reads a bounded number of rows by an index."""

from __future__ import annotations

from typing import Any

from medallion_ops.page.database import Reading

Row = dict[str, Any]

BATCHES = 50
REASON_BATCHES = 20_000
"""A day of micro-batches at a trigger of 5 s."""
INCIDENTS = 50
PUBLICATIONS = 30
SETS = 30


def incidents(reading: Reading) -> list[Row]:
    """Open incidents first, then those closed last."""
    return reading.rows(
        "SELECT incident_id, level, dataset, code, subject, happened, meaning, first_step, "
        "opened_at, closed_at, acknowledged_at, acknowledged_by, muted_until, muted_by FROM audit.incidents "
        "ORDER BY closed_at IS NOT NULL, coalesce(closed_at, opened_at) DESC LIMIT %(most)s",
        most=INCIDENTS,
    )


def maintenance_windows(reading: Reading) -> list[Row]:
    """Windows that are not over."""
    return reading.rows(
        "SELECT dataset, starts_at, ends_at, reason, created_by FROM audit.maintenance_windows "
        "WHERE ends_at > clock_timestamp() ORDER BY starts_at LIMIT 20"
    )


def newest_samples(reading: Reading) -> dict[str, Row]:
    """The monitor's last look at each dataset."""
    rows = reading.rows(
        "SELECT DISTINCT ON (dataset) *, extract(epoch FROM clock_timestamp() - at)::float AS age "
        "FROM audit.monitor_samples WHERE at > clock_timestamp() - interval '1 day' ORDER BY dataset, at DESC"
    )
    return {row["dataset"]: row for row in rows}


def last_hour(reading: Reading) -> dict[str, Row]:
    """Records of the last hour by verdict, of each dataset."""
    rows = reading.rows(
        "SELECT dataset, sum(read)::bigint AS bronze, sum(silver)::bigint AS silver, "
        "sum(late + rejected)::bigint AS quarantine FROM audit.monitor_samples "
        "WHERE at > clock_timestamp() - interval '1 hour' GROUP BY dataset"
    )
    return {row["dataset"]: row for row in rows}


def gold_last_hour(reading: Reading) -> dict[tuple[str, str], int]:
    """Rows that publications of the last hour wrote, by dataset and table."""
    rows = reading.rows(
        "SELECT dataset, entry.key AS table_name, sum(coalesce((entry.value->>'inserted')::bigint, 0) "
        "+ coalesce((entry.value->>'updated')::bigint, 0))::bigint AS written "
        "FROM gold.publications, jsonb_each(rows) AS entry "
        "WHERE published_at > clock_timestamp() - interval '1 hour' GROUP BY dataset, entry.key"
    )
    return {(row["dataset"], row["table_name"]): row["written"] for row in rows}


def table_rows(reading: Reading) -> list[Row]:
    """Rows of every table when they were last counted."""
    return reading.rows("SELECT * FROM audit.table_rows ORDER BY dataset, layer, table_name")


def blocked_since(reading: Reading) -> dict[str, Any]:
    """Since when the gate holds gold back, by dataset."""
    rows = reading.rows(
        "SELECT dataset, opened_at FROM audit.gate_episodes WHERE kind = 'blocked' AND closed_at IS NULL"
    )
    return {row["dataset"]: row["opened_at"] for row in rows}


def samples(reading: Reading, dataset: str, hours: int) -> list[Row]:
    """What each look saw of a dataset, the oldest first; records as a rate between looks.

    Args:
        reading: of gold.
        dataset: its name.
        hours: how far back.
    """
    return reading.rows(
        "SELECT extract(epoch FROM at)::float AS at, backlog_age, backlog_records, latency_p95, pending_age, "
        "read / nullif(extract(epoch FROM at - lag(at) OVER (ORDER BY at)), 0)::float AS rate "
        "FROM audit.monitor_samples WHERE dataset = %(dataset)s "
        "AND at > clock_timestamp() - make_interval(hours => %(hours)s) ORDER BY at",
        dataset=dataset,
        hours=hours,
    )


def micro_batches(reading: Reading, dataset: str) -> list[Row]:
    """The last micro-batches of a dataset, the newest first.

    Args:
        reading: of gold.
        dataset: its name.
    """
    return reading.rows(
        "SELECT *, read = silver + duplicate + late + rejected AS is_balanced FROM audit.micro_batches "
        "WHERE dataset = %(dataset)s ORDER BY sequence DESC LIMIT %(most)s",
        dataset=dataset,
        most=BATCHES,
    )


def quarantine_reasons(reading: Reading, dataset: str) -> list[Row]:
    """Rejected records of the last day by reason, and late ones; of REASON_BATCHES at most.

    Args:
        reading: of gold.
        dataset: its name.
    """
    return reading.rows(
        "WITH batches AS (SELECT committed_at, late, rejected_by_reason FROM audit.micro_batches "
        "WHERE dataset = %(dataset)s AND committed_at > clock_timestamp() - interval '1 day' "
        "AND (rejected > 0 OR late > 0) AND sequence > "
        "(SELECT max(sequence) - %(most)s FROM audit.micro_batches WHERE dataset = %(dataset)s)) "
        "SELECT reason, sum(records)::bigint AS records, max(committed_at) AS newest FROM ("
        "SELECT entry.key AS reason, entry.value::bigint AS records, committed_at FROM batches, "
        "jsonb_each_text(rejected_by_reason) AS entry UNION ALL "
        "SELECT 'late', late, committed_at FROM batches WHERE late > 0) AS found "
        "GROUP BY reason ORDER BY records DESC, reason LIMIT 50",
        most=REASON_BATCHES,
        dataset=dataset,
    )


def quarantine_samples(reading: Reading, dataset: str) -> list[Row]:
    """Masked examples of quarantined records, the newest first.

    Args:
        reading: of gold.
        dataset: its name.
    """
    return reading.rows(
        "SELECT topic, partition_id, record_offset, quarantined_at, reasons, shape "
        "FROM audit.quarantine_samples WHERE dataset = %(dataset)s ORDER BY quarantined_at DESC LIMIT 15",
        dataset=dataset,
    )


def gate_results(reading: Reading, dataset: str) -> list[Row]:
    """The gate's verdict on each table of the last sets, the newest first.

    Args:
        reading: of gold.
        dataset: its name.
    """
    return reading.rows(
        "SELECT set_id, m.created_at, m.run_id, g.table_name, max(g.checked_at) AS checked_at, "
        "count(*) AS expectations, count(*) FILTER (WHERE NOT success) AS failed, "
        "coalesce(bool_or(NOT success AND severity = 'critical'), false) AS is_critical, "
        "max(row_count) AS row_count, "
        "array_remove(array_agg(CASE WHEN success THEN NULL ELSE description END), NULL) AS failures "
        "FROM (SELECT set_id, created_at, run_id FROM staging.manifests WHERE dataset = %(dataset)s "
        "ORDER BY set_id DESC LIMIT %(most)s) AS m JOIN audit.gate_results AS g USING (set_id) "
        "GROUP BY set_id, m.created_at, m.run_id, g.table_name ORDER BY set_id DESC, g.table_name",
        dataset=dataset,
        most=SETS,
    )


def publications(reading: Reading, dataset: str) -> list[Row]:
    """The last publications of a dataset, the newest first.

    Args:
        reading: of gold.
        dataset: its name.
    """
    return reading.rows(
        "SELECT publication_id, run_id, set_id, kind, from_version, to_version, rows, decision, decided_by, "
        "decided_at, published_at FROM gold.publications WHERE dataset = %(dataset)s "
        "ORDER BY publication_id DESC LIMIT %(most)s",
        dataset=dataset,
        most=PUBLICATIONS,
    )


def decisions(reading: Reading, dataset: str) -> list[Row]:
    """The last questions put to people about a dataset, and their answers.

    Args:
        reading: of gold.
        dataset: its name.
    """
    return reading.rows(
        "SELECT d.set_id, d.asked_at, d.answer, d.answered_by, d.answered_at, d.refused "
        "FROM audit.decisions AS d JOIN staging.manifests AS m USING (set_id) WHERE m.dataset = %(dataset)s "
        "ORDER BY d.decision_id DESC LIMIT %(most)s",
        dataset=dataset,
        most=PUBLICATIONS,
    )


def open_incidents(reading: Reading) -> list[Row]:
    """How many incidents are open, by what they are."""
    return reading.rows(
        "SELECT dataset, code, level, count(*) AS incidents FROM audit.incidents WHERE closed_at IS NULL "
        "GROUP BY dataset, code, level"
    )


def last_published(reading: Reading) -> list[Row]:
    """When gold of each dataset was published last."""
    return reading.rows(
        "SELECT DISTINCT ON (dataset) dataset, extract(epoch FROM published_at)::float AS at "
        "FROM gold.publications ORDER BY dataset, publication_id DESC"
    )


def failed_expectations(reading: Reading) -> list[Row]:
    """Failed expectations of each dataset's newest judged set, by severity."""
    return reading.rows(
        "SELECT m.dataset, severity, count(*) FILTER (WHERE NOT success) AS failed FROM audit.gate_results "
        "JOIN (SELECT dataset, max(set_id) AS set_id FROM staging.manifests JOIN audit.gate_results "
        "USING (set_id) GROUP BY dataset) AS m USING (set_id) GROUP BY m.dataset, severity"
    )
