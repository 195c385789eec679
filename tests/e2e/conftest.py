"""One whole stack for all end-to-end tests, in a state folder and on ports of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medallion_ops.control import StreamControl
from medallion_ops.lake_settings import LakeSettings
from medallion_stack import demo, report
from medallion_stack.airflow_client import FINISHED, AirflowClient
from medallion_stack.cli import start_all
from medallion_stack.layout import TELCO
from medallion_stack.observe import GoldView, LakeView
from medallion_stack.stack import Stack
from medallion_stack.waiting import wait_until
from own_stack import own_stack
from services import Mail

E2E_SECONDS = 1500
"""For one test with its fixtures; the first one starts everything, on as little as two busy cores."""

E2E_WAIT_SECONDS = 900
"""For the stream or a DAG run: seconds on an idle machine, minutes on one that does ten other things."""


@dataclass(frozen=True)
class Platform:
    """The running stack and everything a client of it uses."""

    stack: Stack
    airflow: AirflowClient
    lake: LakeView
    gold: GoldView
    mail: Mail

    @property
    def settings(self) -> dict[str, str]:
        """What `stack.env` says."""
        return self.stack.state.read_settings()

    @property
    def incoming(self) -> Path:
        """The folder that the producer's DAG takes files from."""
        return Path(self.settings["MEDALLION_PRODUCER_DIR"])

    def run_dag(self, dag_id: str, **params: object) -> str:
        """Trigger the DAG and wait for the run's end; returns its id."""
        run = self.airflow.trigger(dag_id, params)
        self.wait_for_run(dag_id, run)
        return run

    def wait_for_run(self, dag_id: str, run: str) -> None:
        """Wait for a run's end."""
        wait_until(lambda: self.airflow.state(dag_id, run) in FINISHED, E2E_WAIT_SECONDS, f"{dag_id} {run}")

    def run_gold_until_it_asks(self) -> str:
        """Trigger a gold run; gives the run that asks a person, be it this one or the hour's own.

        Of an episode only the first run asks by itself: the others do when they are asked to.
        """
        self.airflow.trigger("customers_gold", {"ask": True})
        asking: list[str] = []

        def is_asked() -> bool:
            runs = self.airflow.runs("customers_gold", "running")
            asking.extend(run for run in runs if self.airflow.asks("customers_gold", run, "decide"))
            return bool(asking)

        wait_until(is_asked, E2E_WAIT_SECONDS, "the gate's question")
        return asking[0]

    def wait_until_people_were_told(self, run: str) -> None:
        """Wait until a gold run has mailed what there is to mail."""

        def is_told() -> bool:
            states = {task.task_id: task.state for task in self.airflow.tasks("customers_gold", run)}
            return states.get("notify") == "success"

        wait_until(is_told, E2E_WAIT_SECONDS, "the gate's mail")

    def decide(self, run: str, option: str) -> str:
        """Answer a gold run's question, and wait for the run's end; returns its state."""
        self.airflow.answer("customers_gold", run, "decide", option)
        self.wait_for_run("customers_gold", run)
        return self.airflow.state("customers_gold", run)

    def wait_for_verdicts(self) -> None:
        """Wait until the ledger accounts for every record on the topics."""

        def is_all_judged() -> bool:
            sent = self.stack.broker.record_count(("customers", "customers_replay"))
            return self.lake.balance().read >= sent

        wait_until(is_all_judged, E2E_WAIT_SECONDS, "the stream")


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The stack, up; taken down at the end, whatever happened."""
    folder = tmp_path_factory.mktemp("stack")
    # A copy, for a test to break.
    labels = shutil.copy(TELCO, folder / "labels.csv")
    with own_stack(folder, MEDALLION_CHURN_SOURCE=str(labels)) as state:
        stack = start_all(state)
        settings = stack.airflow.settings
        yield Platform(
            stack,
            AirflowClient.of(settings),
            LakeView(settings["MEDALLION_LAKE_URI"], "customers"),
            GoldView(settings, "customers"),
            Mail("127.0.0.1", stack.mail.port, Path(settings["MEDALLION_MAIL_DIR"])),
        )


@pytest.fixture(scope="package")
def demo_report(platform: Platform) -> report.Report:
    """The report of `make demo` on the fresh stack."""
    return report.make_report(platform.stack, demo.run(platform.stack, "customers"))


@pytest.fixture(scope="package")
def subscriptions_report(platform: Platform) -> report.Report:
    """The report of the demo's second dataset, whose stream is stopped again: the tests share two cores."""
    made = report.make_report(platform.stack, demo.run(platform.stack, "subscriptions"))
    for kind in ("streaming", "gold"):
        platform.airflow.set_paused(f"subscriptions_{kind}", True)
    lake = LakeSettings(uri=platform.settings["MEDALLION_LAKE_URI"])
    StreamControl(lake, "subscriptions").request_stop("tests")
    return made
