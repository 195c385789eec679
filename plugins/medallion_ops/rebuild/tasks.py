"""Making way for a rebuild of silver, and reporting what it changed."""

from __future__ import annotations

import logging
from typing import Any

from medallion_contracts.errors import StreamError
from medallion_ops.control import StreamControl
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_store.postgres import gold_connection
from medallion_store.publications import last_publication

log = logging.getLogger(__name__)

LONGEST_BATCH_SECONDS = 1800.0


def stop_stream(dataset: str, owner: str) -> None:
    """Write this run's stop request.

    Raises:
        LeaseError: Somebody else's is there.
    """
    StreamControl(LakeSettings.from_environment(), dataset).request_stop(owner)
    log.info("stop requested: the driver ends after its micro-batch")


def wait_for_stream(dataset: str) -> float:
    """Wait until no one holds silver; gives the seconds it took.

    Raises:
        LeaseError: Somebody still does after half an hour.
    """
    waited = StreamControl(LakeSettings.from_environment(), dataset).wait_until_free(LONGEST_BATCH_SECONDS)
    log.info("silver is free after %.0f s", waited)
    return round(waited, 1)


def start_stream(dataset: str, owner: str) -> bool:
    """Remove this run's stop request; tells whether it was there."""
    was_there = StreamControl(LakeSettings.from_environment(), dataset).release(owner)
    log.info("stop request %s", "removed" if was_there else "was not there")
    return was_there


def report_silver(silver: dict[str, Any]) -> dict[str, Any]:
    """What the rebuild changed in silver and quarantine, as the job gave it.

    Raises:
        StreamError: silver was not what the verdicts in bronze say (as-judged). It is now.
    """
    log.info("silver: %s", silver)
    check_as_judged(silver)
    return silver


def report_gold(dataset: str) -> dict[str, Any]:
    """What the run of the gold DAG changed, the stream's news since the run before it included."""
    with gold_connection(GoldSettings.from_environment().dsn) as connection:
        published = last_publication(connection, dataset)
    gold = {"silver_version": published.to_version, "rows": dict(published.rows)} if published else {}
    log.info("gold: %s", gold or "nothing is published")
    return gold


def check_as_judged(silver: dict[str, Any]) -> None:
    """See that a rebuild by the verdicts in bronze changed nothing of a silver that was there.

    Raises:
        StreamError: it did; names the numbers.
    """
    if "silver" in silver.get("made_again", ()):
        log.info("silver was gone, and is there again: %s rows", silver.get("silver_rows"))
        return
    differences = {name: rows for name, rows in silver.get("silver_differences", {}).items() if rows}
    if silver.get("mode") == "as-judged" and differences:
        found = ", ".join(f"{rows} {name}" for name, rows in differences.items())
        raise StreamError(
            f"silver was not what bronze's verdicts say ({found} rows), and has been mended: the "
            "history of the silver table names who wrote it besides the stream"
        )
