"""`python -m medallion_ops.watch`: watches Airflow and the monitor from outside, until it is ended."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from medallion_contracts.errors import MedallionError, SettingsError
from medallion_ops.alerts.mail_server import MailServer
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.setting_fields import SUBJECT
from medallion_ops.watch.settings import WatchSettings
from medallion_ops.watch.state import FOLDER, StateFile
from medallion_ops.watch.watcher import Sources, Watcher

AIRFLOW_SMTP = "AIRFLOW_CONN_SMTP_DEFAULT"


def sources(environ: Mapping[str, str]) -> tuple[Sources, Path]:
    """What to watch, and the folder of MEDALLION_ALERT_OUTBOX.

    Args:
        environ: the settings.

    Raises:
        SettingsError: lists everything that is missing or wrong.
    """
    problems: list[str] = []
    alerts, gold = AlertSettings.read(environ, problems), GoldSettings.read(environ, problems)
    monitor, watch = MonitorSettings.read(environ, problems), WatchSettings.read(environ, problems)
    smtp = watch.smtp.reveal() if watch and watch.smtp else environ.get(AIRFLOW_SMTP, "")
    server = None
    try:
        server = MailServer.parse(smtp)
    except ValueError as error:
        problems.append(f"MEDALLION_WATCH_SMTP (or {AIRFLOW_SMTP}): the value {error}")
    url = (watch and watch.airflow_url) or (alerts and alerts.airflow_url)
    if not url:
        problems.append("MEDALLION_WATCH_AIRFLOW_URL is not set, and MEDALLION_AIRFLOW_URL neither")
    if alerts and alerts.outbox is None:
        problems.append("MEDALLION_ALERT_OUTBOX is not set: the watcher keeps state and unsent mails there")
    if problems or not (alerts and alerts.outbox and gold and monitor and watch and server and url):
        raise SettingsError(SUBJECT, problems)
    return Sources(url, gold.dsn, server, alerts, monitor, watch), alerts.outbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch; exit code 1 with a message when it cannot begin."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.watch",
        description="Asks every 30 s whether Airflow, its processes, the monitor and Postgres answer, and "
        "notifies people (MEDALLION_ALERT_TO) of silence. Runs outside Airflow, best on another machine.",
    )
    parser.add_argument("--once", action="store_true", help="one check, then end")
    parser.add_argument(
        "--supervisor",
        type=Path,
        metavar="FILE",
        help="the local stack's note of its supervisor: watch it too",
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        found, outbox = sources(os.environ)
        folder = outbox / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Path(folder, "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise MedallionError(f"another watcher runs with {folder}: end that one first") from None
            watcher = Watcher(replace(found, supervisor=given.supervisor), StateFile(outbox))
            if given.once:
                watcher.check(datetime.now(UTC))
            else:
                watcher.run()
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
