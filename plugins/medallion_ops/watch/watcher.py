"""The watcher: asks, remembers, notifies. One check every half a minute."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from medallion_contracts.errors import MedallionError, ServiceUnavailable
from medallion_ops.alerts import webhook
from medallion_ops.alerts.alert import Alert
from medallion_ops.alerts.mail_server import MailServer
from medallion_ops.alerts.outbox import GIVE_UP_AFTER, Channel, Entry
from medallion_ops.alerts.sending import entries
from medallion_ops.alerts.settings import AlertSettings
from medallion_ops.monitor.incident_alert import incident_alert
from medallion_ops.monitor.runbook import incident_links, plain
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.monitor.transitions import REOPEN_WITHIN, Notice
from medallion_ops.watch import records
from medallion_ops.watch.findings import find
from medallion_ops.watch.settings import WatchSettings
from medallion_ops.watch.state import Outgoing, StateFile
from medallion_ops.watch.supervisor import has_died
from medallion_ops.watch.troubles import Trouble, advance
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret

log = logging.getLogger(__name__)

CHECK_SECONDS = 30
PING_SECONDS = 60
ANSWER_SECONDS = 5
POSTGRES_SECONDS = 15
KEPT = timedelta(days=30)
"""A closed incident that Postgres did not take for so long is forgotten."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Sources:
    """What the watcher needs to know of its platform."""

    airflow_url: str
    gold: Secret
    mail_server: MailServer
    alerts: AlertSettings
    monitor: MonitorSettings
    watch: WatchSettings
    supervisor: Path | None = None
    """The note that the local stack keeps of its supervisor."""


class Watcher:
    """One watcher and its state file."""

    def __init__(self, sources: Sources, file: StateFile) -> None:
        self._sources, self._file = sources, file
        self.state = file.load()
        self._asking: Thread | None = None
        self._pinged = -float(PING_SECONDS)

    def run(self) -> None:
        """Check until the process ends."""
        while True:
            started = time.monotonic()
            self.check(datetime.now(UTC))
            time.sleep(max(1.0, CHECK_SECONDS - (time.monotonic() - started)))

    def check(self, now: datetime) -> None:
        """Ask everything once, keep what was found, and send what is due.

        Args:
            now: UTC.
        """
        health = self._health()
        looked_at, has_postgres = self._ask_postgres(now)
        found = find(
            health,
            looked_at,
            has_postgres=has_postgres,
            now=now,
            has_supervisor=not has_died(self._sources.supervisor),
        )
        quiet_until = self.state.quiet_until
        troubles = advance(
            self.state.troubles,
            found,
            now,
            silence=timedelta(seconds=self._sources.watch.silence_seconds),
            is_quiet=quiet_until is not None and now < quiet_until,
        )
        due = [one for one in troubles if one.mailed is not None and one.mailed_at == now]
        for trouble in due:
            log.warning("%s %s: %s", trouble.mailed, trouble.key, trouble.problem.happened)
        new = [
            Outgoing(entry, now) for one in due for entry in entries(self._alert(one), self._sources.alerts)
        ]
        self._keep(
            troubles=_still_needed(troubles, now), outgoing=(*self.state.outgoing, *new), checked_at=now
        )
        if has_postgres:
            self._record(now)
        self._send(now)
        self._ping()

    def _keep(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self._file.save(self.state)

    def _health(self) -> Mapping[str, Any] | None:
        import httpx

        try:
            answer = httpx.get(f"{self._sources.airflow_url}/api/v2/monitor/health", timeout=ANSWER_SECONDS)
            answer.raise_for_status()
            content = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("Airflow at %s: %s", self._sources.airflow_url, type(error).__name__)
            return None
        return content if isinstance(content, dict) else None

    def _ask_postgres(self, now: datetime) -> tuple[datetime | None, bool]:
        """The monitor's newest look, and whether Postgres answers."""

        def ask() -> tuple[datetime | None, datetime | None]:
            with self._gold() as connection:
                looked_at = records.newest_look(connection)
                return looked_at, records.quiet_until(connection, now) if looked_at else None

        try:
            looked_at, quiet_until = self._within(POSTGRES_SECONDS, ask)
        except MedallionError as error:
            log.warning("%s", error)
            return None, False
        self.state = replace(self.state, quiet_until=quiet_until)
        return looked_at, True

    def _gold(self) -> Any:
        return gold_connection(
            self._sources.gold, application="medallion watch", connect_seconds=ANSWER_SECONDS
        )

    def _within(self, seconds: float, ask: Callable[[], Result]) -> Result:
        """The answer, or an error after so many seconds: a server that was frozen never answers."""
        if self._asking is not None and self._asking.is_alive():
            raise ServiceUnavailable("Postgres still does not answer an earlier question")
        answers: list[Result] = []
        errors: list[MedallionError] = []

        def run() -> None:
            try:
                answers.append(ask())
            except MedallionError as error:
                errors.append(error)

        self._asking = Thread(target=run, daemon=True)
        self._asking.start()
        self._asking.join(seconds)
        if answers:
            return answers[0]
        raise errors[0] if errors else ServiceUnavailable(f"Postgres did not answer within {seconds:.0f} s")

    def _record(self, now: datetime) -> None:
        """Bring audit.incidents in line; what fails is tried again at the next check."""

        def write() -> list[Trouble]:
            with self._gold() as connection:
                return [
                    records.record(connection, one, now) if one.opened_at and not one.is_recorded else one
                    for one in self.state.troubles
                ]

        if all(one.is_recorded or one.opened_at is None for one in self.state.troubles):
            return
        try:
            self._keep(troubles=tuple(self._within(POSTGRES_SECONDS, write)))
        except MedallionError as error:
            log.warning("the incident is not in audit.incidents yet: %s", error)

    def _alert(self, trouble: Trouble) -> Alert:
        problem, notice = trouble.problem, trouble.mailed or Notice.OPENED
        advice = [] if notice is Notice.CLOSED else [plain(problem.code)]
        return replace(
            incident_alert(problem, notice, trouble.since, trouble.closed_at),
            notes=["Noticed by the watcher outside Airflow.", *advice],
            links=incident_links(self._sources.alerts, self._sources.monitor, problem.code),
            key=f"watch {trouble.key} {notice} {trouble.mailed_at}",
        )

    def _send(self, now: datetime) -> None:
        """Hand over what waits; a channel that does not answer is left alone until the next check."""
        silent: set[Channel] = set()
        for one in self.state.outgoing:
            if one.entry.channel in silent:
                continue
            try:
                refused = tuple(self._deliver(one.entry))
            except ServiceUnavailable as error:
                log.warning("an alert waits: %s", error)
                silent.add(one.entry.channel)
                is_out, refused = False, one.entry.recipients
            else:
                is_out = not refused
            if not is_out and now - one.kept_at > GIVE_UP_AFTER:
                log.error("%s was not delivered in %s and is dropped", one.entry.message_id, GIVE_UP_AFTER)
                is_out = True
            left = () if is_out else (replace(one, entry=replace(one.entry, recipients=refused)),)
            if left != (one,):
                place = self.state.outgoing.index(one)
                before, after = self.state.outgoing[:place], self.state.outgoing[place + 1 :]
                self._keep(outgoing=(*before, *left, *after))

    def _deliver(self, entry: Entry) -> Mapping[str, str]:
        if entry.channel is Channel.MAIL:
            email = message_from_string(entry.content, policy=policy.default)
            assert isinstance(email, EmailMessage)  # noqa: S101  # by that policy
            return self._sources.mail_server.deliver(email, entry.recipients)
        if self._sources.alerts.webhook is not None:
            webhook.post(self._sources.alerts.webhook.reveal(), json.loads(entry.content))
        return {}

    def _ping(self) -> None:
        """Call the dead-man's switch, unless something is wrong: its silence is then the message."""
        address = self._sources.watch.ping
        all_is_well = not self.state.outgoing and not any(one.is_open for one in self.state.troubles)
        if address is None or not all_is_well or time.monotonic() - self._pinged < PING_SECONDS - 1:
            return
        import httpx

        try:
            httpx.get(address.reveal(), timeout=ANSWER_SECONDS).raise_for_status()
            self._pinged = time.monotonic()
        except httpx.HTTPError as error:
            # Never the address: it is the key.
            log.warning("the address of MEDALLION_WATCH_PING did not take a ping: %s", type(error).__name__)


def _still_needed(troubles: Iterable[Trouble], now: datetime) -> tuple[Trouble, ...]:
    """Without what is over, cannot come back as the same incident, and is in Postgres or too old for it."""
    return tuple(
        one
        for one in troubles
        if one.closed_at is None
        or now - one.closed_at <= REOPEN_WITHIN
        or (not one.is_recorded and now - one.closed_at <= KEPT)
    )
