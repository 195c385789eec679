"""The whole stack: which services there are, what each waits for, start and stop."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from medallion_contracts.errors import SettingsError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.monitor.settings import POOL as MONITOR_POOL
from medallion_ops.setting_names import unknown_names
from medallion_ops.settings import Settings, problems_of_overrides
from medallion_stack import layout
from medallion_stack.airflow import PARALLELISM, ROLES, USER, Airflow, AirflowKeys
from medallion_stack.airflow_client import AirflowClient
from medallion_stack.bootstrap import are_jobs_built, build_jobs
from medallion_stack.broker import Broker
from medallion_stack.choices import CHOICES, NEVER_SHOWN, SECRET_SETTINGS, chosen_settings
from medallion_stack.mail import MailSink
from medallion_stack.parallel import in_parallel
from medallion_stack.postgres import Postgres
from medallion_stack.process import ProcessTable, Service
from medallion_stack.spark import SparkCluster
from medallion_stack.state import State
from medallion_stack.watch import watcher_service

WRITER, READER, PII_READER = "medallion_writer", "gold_reader", "gold_pii_reader"
SUPERVISOR = "supervisor"
LONGEST_IDLE_TRANSACTION_SECONDS = 120
"""Of Airflow's processes, whose transactions take seconds. A worker that its scheduler left behind may have
one open, with a lock on a run that then stands still."""


@dataclass(frozen=True)
class Stack:
    """All services of one state folder, with their ports and secrets fixed."""

    state: State
    processes: ProcessTable
    postgres: Postgres
    broker: Broker
    mail: MailSink
    spark: SparkCluster
    airflow: Airflow
    report: Callable[[str], None] = field(default=print)

    @classmethod
    def of(cls, state: State, report: Callable[[str], None] = print) -> Stack:
        """Fix ports and secrets, remembered ones where possible."""
        processes = process_table(state)

        def port(service: str, purpose: str = "") -> int:
            return state.port(f"{service}{purpose}", is_ours=processes.find(service) is not None)

        folder = state.folder
        postgres = Postgres(folder / "postgres", port("postgres"), state.secret("postgres"))
        broker = Broker(folder / "kafka", port("broker"), port("broker", "-controller"), {})
        mail = MailSink(folder / "mail", port("mail"))
        spark = SparkCluster(
            folder=folder / "spark",
            port=port("spark-master"),
            rest_port=port("spark-master", "-rest"),
            web_port=port("spark-master", "-web"),
            worker_port=port("spark-worker"),
            worker_web_port=port("spark-worker", "-web"),
            secrets_file=state.secrets_file,
        )
        airflow_port = port("airflow-api-server")
        keys = AirflowKeys(
            passwords={user: state.secret(f"airflow_{user}") for user in ROLES},
            fernet=state.fernet_key(),
            api=state.secret("airflow_api"),
            jwt=state.secret("airflow_jwt", lambda: os.urandom(32).hex()),
        )
        settings = {
            "MEDALLION_STATE": str(folder),
            "MEDALLION_KAFKA_BOOTSTRAP": broker.bootstrap,
            "MEDALLION_LAKE_URI": str(folder / "lake"),
            "MEDALLION_GOLD_DSN": postgres.dsn("gold", WRITER, state.secret(WRITER)),
            "MEDALLION_AIRFLOW_DSN": postgres.dsn("airflow", "airflow", state.secret("airflow_database")),
            "MEDALLION_READER_DSN": postgres.dsn("gold", READER, state.secret(READER)),
            "MEDALLION_PII_READER_DSN": postgres.dsn("gold", PII_READER, state.secret(PII_READER)),
            "MEDALLION_SPARK_MASTER": spark.master_url,
            "MEDALLION_SPARK_REST": spark.rest_url,
            "MEDALLION_SPARK_JARS": str(layout.SPARK_JARS),
            "MEDALLION_SPARK_PYTHON": str(layout.VENV / "bin/python"),
            "MEDALLION_JOBS_DIR": str(state.jobs),
            "MEDALLION_SECRETS_FILE": str(state.secrets_file),
            "MEDALLION_AIRFLOW_URL": f"http://127.0.0.1:{airflow_port}",
            "MEDALLION_AIRFLOW_USER": USER,
            "MEDALLION_AIRFLOW_PASSWORD": keys.passwords[USER],
            "MEDALLION_AIRFLOW_OPERATOR_PASSWORD": keys.passwords["operator"],
            "MEDALLION_AIRFLOW_VIEWER_PASSWORD": keys.passwords["viewer"],
            "MEDALLION_MAIL_DIR": str(mail.folder),
            "MEDALLION_ALERT_FROM": "medallion@medallion.example",
            "MEDALLION_ALERT_OUTBOX": str(folder / "outbox"),
            "MEDALLION_CANARY_MAILDIR": str(mail.folder),
            "MEDALLION_DATA_DOCS_DIR": str(folder / "data_docs"),
            "MEDALLION_PRODUCER_DIR": str(folder / "incoming"),
        }
        settings.update(chosen_settings(state))
        airflow = Airflow(
            folder=folder / "airflow",
            port=airflow_port,
            database=postgres.dsn("airflow", "airflow", state.secret("airflow_database")),
            keys=keys,
            settings=settings,
            smtp_port=mail.port,
        )
        return cls(state, processes, postgres, broker, mail, spark, airflow, report)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of the datasets that run, and those of their replays."""
        datasets = map(load_dataset, datasets_that_run(self.airflow.settings))
        return tuple(topic for one in datasets for topic in (one.topic, one.replay_topic))

    def services(self) -> list[Service]:
        """Every service, in an order in which they can be started one after the other."""
        return [
            self.postgres.service(),
            self.broker.service(),
            self.mail.service(),
            self.spark.master(),
            self.spark.worker(),
            *self.airflow.services(),
            watcher_service(
                self.airflow.environment(),
                self.state.folder / "outbox",
                self.processes.note_of(SUPERVISOR),
            ),
        ]

    def up(self) -> None:
        """Start what does not run and wait until all of it answers; safe to repeat at any point.

        Raises:
            SettingsError: a chosen setting is not valid, or other than that of the services that run.
            ServiceUnavailable: names the service that did not come up and ends with its log's last lines.
        """
        for name in ("lake", "data_docs", "reports", "logs", "incoming"):
            (self.state.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(layout.TELCO, self.state.folder / "incoming" / layout.TELCO.name)
        # Fails here, with every problem at once, rather than in a DAG.
        Settings.from_environment(self.airflow.settings)
        if problems := [*unknown_names(os.environ), *problems_of_overrides(os.environ)]:
            raise SettingsError("settings of your environment are not valid", problems)
        self._refuse_other_choices()
        is_running = bool(self.processes.find("spark-master"))
        is_new_code = not are_jobs_built(self.state.jobs)
        if not is_running and (is_new_code or self.state.read_settings() != self.airflow.settings):
            self.spark.forget_drivers()  # they would be launched with the old settings, or for the old code
        self.state.write_settings(self.airflow.settings, SECRET_SETTINGS)
        if not is_running:
            build_jobs(self.state.jobs)
        elif is_new_code:
            self.report("  contracts or code here are not those that run: `make roll-out` brings them in")
        in_parallel([self._up_postgres_and_airflow, self._up_broker, self._up_spark, self._up_mail])
        # The monitor has a slot of its own, so the other tasks must leave it free.
        client = AirflowClient.of(self.airflow.settings)
        client.set_pool(MONITOR_POOL, 1, "The monitor runs while every other slot is taken.")
        client.set_pool("default_pool", PARALLELISM - 1, "All tasks but the monitor.")
        self._up(self.services()[-1])  # last: what it would find silent is up

    def bring_in_code(self) -> None:
        """Give jobs and Airflow the code of this project; the stream goes on with what it has.

        Tasks that run are tried again by the new code. Safe to repeat, and to kill halfway: `up` and this
        both start what does not run.

        Raises:
            ServiceUnavailable: Airflow does not come up by it.
        """
        build_jobs(self.state.jobs)
        services = self.airflow.services()
        for service in reversed(services):
            self.processes.stop(service.name)
        self.airflow.prepare()
        self._up(*services)

    def _refuse_other_choices(self) -> None:
        # Services keep the environment they were started with, and the stream's driver its arguments.
        earlier = self.state.read_settings()
        if not earlier or not self.processes.members():
            return
        changed = [
            f"{name} is not what the running services were started with"
            if name in NEVER_SHOWN
            else f"{name} is {chosen}, but what runs was started with {running}"
            for name, default in CHOICES.items()
            if (chosen := self.airflow.settings.get(name, "")) != (running := earlier.get(name, default))
        ]
        if changed:
            raise SettingsError("settings cannot change while the stack runs: `make down` first", changed)

    def _up_postgres_and_airflow(self) -> None:
        if self.processes.find("postgres") is None:
            self.postgres.prepare()
        self._up(self.postgres.service())
        self.postgres.ensure_role("airflow", self.state.secret("airflow_database"))
        self.postgres.limit_idle_transactions("airflow", LONGEST_IDLE_TRANSACTION_SECONDS)
        self.postgres.ensure_role(WRITER, self.state.secret(WRITER))
        self.postgres.ensure_role(READER, self.state.secret(READER))
        self.postgres.ensure_role(PII_READER, self.state.secret(PII_READER))
        self.postgres.ensure_database("airflow", "airflow")
        self.postgres.ensure_database("gold", WRITER)
        services = self.airflow.services()
        if self.processes.find(services[0].name) is None:
            self.airflow.prepare()
        self._up(*services)

    def _up_broker(self) -> None:
        if self.processes.find("broker") is None:
            self.broker.prepare()
        self._up(self.broker.service())
        self.broker.ensure_topics(self.topics)

    def _up_spark(self) -> None:
        self._up(self.spark.master())
        self._up(self.spark.worker())

    def _up_mail(self) -> None:
        self._up(self.mail.service())

    def _up(self, *services: Service) -> None:
        started = time.monotonic()
        new = [service for service in services if self.processes.find(service.name) is None]
        known = self.processes.names()
        for service in new:
            if service.name in known:
                self.processes.stop(service.name)  # what outlived it, e.g. executors of a killed worker
        for service in services:
            self.processes.start(service)
        for service in services:
            self.processes.wait_ready(service)
            seconds = f"ready after {time.monotonic() - started:.1f} s" if service in new else "runs already"
            self.report(f"  {service.name:<22} {service.ready_on:<24} {seconds}")


def process_table(state: State) -> ProcessTable:
    """The processes of the stack in that folder."""
    return ProcessTable(state.run, state.logs, str(state.folder))


@contextmanager
def exclusive(state: State) -> Iterator[None]:
    """One start or stop at a time, over all processes; a waiting one goes on when the other has ended."""
    state.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Path(state.folder, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
