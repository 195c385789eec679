"""Incidents by hand: list them, acknowledge one, mute one, plan a maintenance window.

`python -m medallion_ops.incidents list|acknowledge|mute|window --help`
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from medallion_contracts.errors import MedallionError
from medallion_contracts.loader import dataset_names
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.monitor.incidents import acknowledge, mute, plan_window
from medallion_store.postgres import gold_connection

if TYPE_CHECKING:
    import psycopg


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 with a message when it cannot be done."""
    given = _parser().parse_args(arguments)
    try:
        with gold_connection(GoldSettings.from_environment().dsn) as connection:
            for line in _run(connection, given):
                print(line)  # noqa: T201
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.incidents",
        description="Shows and changes incidents in Postgres (MEDALLION_GOLD_DSN).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="open incidents, newest first")
    listing.add_argument("--all", action="store_true", help="closed ones too, the last 50")
    ack = commands.add_parser("acknowledge", help="someone works on it: no more reminders")
    ack.add_argument("incident", type=int)
    quiet = commands.add_parser("mute", help="hold back its mails for some hours")
    quiet.add_argument("incident", type=int)
    quiet.add_argument("--hours", type=float, default=4.0, help="default: %(default)s")
    window = commands.add_parser("window", help="planned work from now on: no incident mails meanwhile")
    window.add_argument("--dataset", choices=dataset_names(), default="", help="default: all")
    window.add_argument("--hours", type=float, default=1.0, help="default: %(default)s")
    window.add_argument("--reason", required=True)
    return parser


def _run(connection: psycopg.Connection, given: argparse.Namespace) -> Iterator[str]:
    now, who = datetime.now(UTC), getpass.getuser()
    if given.command == "list":
        yield from _list(connection, with_closed=given.all)
    elif given.command == "acknowledge":
        acknowledge(connection, given.incident, who)
        yield f"incident {given.incident} is acknowledged by {who}"
    elif given.command == "mute":
        until = now + timedelta(hours=given.hours)
        mute(connection, given.incident, who, until)
        yield f"incident {given.incident} is mute until {until:%Y-%m-%d %H:%M} UTC"
    else:
        until = now + timedelta(hours=given.hours)
        number = plan_window(connection, given.dataset, now, until, given.reason, who)
        yield f"window {number}: no incident mails until {until:%Y-%m-%d %H:%M} UTC"


def _list(connection: psycopg.Connection, *, with_closed: bool) -> Iterator[str]:
    rows = connection.execute(
        "SELECT incident_id, level, dataset, code, subject, opened_at, closed_at, acknowledged_by, happened "
        "FROM audit.incidents WHERE closed_at IS NULL OR %s ORDER BY opened_at DESC LIMIT 50",
        [with_closed],
    ).fetchall()
    if not rows:
        yield "no incident is open" if not with_closed else "there was no incident"
    for number, level, dataset, code, subject, opened, closed, by, happened in rows:
        about = " ".join(part for part in (dataset, code, subject) if part)
        state = f"closed {closed:%Y-%m-%d %H:%M}" if closed else f"acknowledged by {by}" if by else "open"
        yield f"{number}  {level}  {about}  since {opened:%Y-%m-%d %H:%M} UTC  {state}\n    {happened}"


if __name__ == "__main__":
    sys.exit(main())
