"""Waiting for the streaming driver in the triggerer, where it takes no worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from medallion_contracts.errors import MedallionError
from medallion_ops.settings import Settings
from medallion_ops.streaming.decision import Step, Verdict
from medallion_ops.streaming.driver import StreamDriver


class StreamDriverTrigger(BaseTrigger):
    """Fires when there is something to do about the driver: submit one, or report that it ended.

    It neither stops nor starts anything, so a triggerer may restart, or run it twice, without harm. There is
    no `on_kill`: clearing the task or marking it failed leaves the driver running, and the next run of the
    task connects to it again; a stop request is what stops the stream.

    Its row in Airflow's database holds the dataset's name only: addresses and logins are read from the
    triggerer's own settings.
    """

    def __init__(self, dataset: str, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow has no annotations there
        self.dataset = dataset
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, as Airflow stores them."""
        arguments = {"dataset": self.dataset, "poll_seconds": self.poll_seconds}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every `poll_seconds`; an unreachable master or lake is logged and asked again."""
        driver = StreamDriver(Settings.from_environment(dataset=self.dataset), self.dataset)
        said = ""
        while True:
            try:
                verdict = await asyncio.to_thread(driver.observe)
            except MedallionError as error:
                verdict = Verdict(Step.WAIT, str(error))
            if verdict.step in (Step.SUBMIT, Step.END, Step.REPORT):
                event = {"step": verdict.step.value, "reason": verdict.reason}
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # as above
                return
            if verdict.reason != said:
                self.log.info("waiting: %s", verdict.reason)
                said = verdict.reason
            await asyncio.sleep(self.poll_seconds)
