"""Operators: the supervised streaming driver, and Spark jobs that end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from medallion_contracts.errors import MedallionError, StreamEnded
from medallion_ops.settings import Settings
from medallion_ops.spark.class_archive import ClassArchive
from medallion_ops.spark.job_folder import job_folder
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.settings import SparkSettings
from medallion_ops.spark.submission import PACKAGES, client_environment, local_conf
from medallion_ops.streaming.decision import Step, Verdict
from medallion_ops.streaming.driver import StreamDriver
from medallion_ops.streaming.triggers import StreamDriverTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from medallion_ops.spark.job_hook import JobHook

CONNECTION = "spark_default"


class StreamDriverOperator(BaseOperator):
    """Keeps one supervised streaming driver on the cluster, and waits for its end without a worker slot.

    It connects to the driver that runs already, or submits one; see `streaming.driver` for how it never
    submits two. An end that nobody asked for fails the task at once, without a retry: the failure is the
    alert, and the next DAG run submits anew. While a stop request is in the lake it submits nothing.
    """

    def __init__(self, *, dataset: str, poll_seconds: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.poll_seconds = poll_seconds

    def execute(self, context: Context) -> str:
        """Connect, submit or wait; gives the reason of a planned end."""
        driver = StreamDriver(Settings.from_environment(dataset=self.dataset), self.dataset)
        verdict = driver.observe()
        self.log.info("%s: %s", verdict.step, verdict.reason)
        if verdict.step is Step.END:
            return self._end(driver, verdict)
        if verdict.step is Step.REPORT:
            self._report(driver, verdict)
        if verdict.step is Step.SUBMIT:
            submitted = driver.submit()
            self.log.info(
                "submitted %s, supervised", submitted or "nothing: another process has just done it"
            )
        return self._wait()

    def resume(self, context: Context, event: dict[str, Any]) -> str:
        """Look again: the event is what the trigger saw, maybe long ago."""
        self.log.info("the trigger saw: %s", event.get("reason"))
        return self.execute(context)

    def _wait(self) -> NoReturn:
        self.defer(
            trigger=StreamDriverTrigger(self.dataset, self.poll_seconds), method_name=self.resume.__name__
        )

    def _report(self, driver: StreamDriver, verdict: Verdict) -> NoReturn:
        """Fail, which is the alert; the next DAG run goes on with the same driver."""
        driver.note_reported()
        reported = StreamEnded(f"the stream of {self.dataset}: {verdict.reason}", verdict.since, verdict.kind)
        raise AirflowFailException(str(reported)) from reported

    def _end(self, driver: StreamDriver, verdict: Verdict) -> str:
        driver.close(verdict)
        if verdict.is_planned:
            return verdict.reason
        ended = StreamEnded(
            f"the stream of {self.dataset} stopped: {verdict.reason}. A new driver is submitted by itself. "
            f"The old one's output is in the folder {verdict.driver_id} of its worker (stderr), and on the "
            "master's page",
            verdict.since,
            verdict.kind,
        )
        raise AirflowFailException(str(ended)) from ended


class SparkJobOperator(BaseOperator):
    """Runs one Spark job to its end by spark-submit, with its driver in the task.

    `job` says what to run, with the settings of `dataset`; it is called when the task runs, as settings are
    nothing to read while a DAG file is parsed. The master is MEDALLION_SPARK_MASTER; the connection
    `spark_default`, if there is one, may add to it (a keytab, a spark binary).
    """

    def __init__(self, *, dataset: str, job: Callable[[Settings, Context], SparkJob], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.job = job
        self._hook: JobHook | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Submit and wait; gives the numbers that the job printed last.

        Raises:
            MedallionError: The job gave up; with its own message.
            AirflowException: It ended in any other way; the task's log has its output.
        """
        settings = Settings.from_environment(dataset=self.dataset)
        job = self.job(settings, context)
        with job_folder() as folder:
            return self._run(settings.spark, job, folder)

    def _run(self, spark: SparkSettings, job: SparkJob, folder: Path) -> dict[str, Any] | None:
        # The provider loads an HTTP library and more: not while a DAG file is parsed.
        from medallion_ops.spark.job_hook import JobHook

        self._hook = JobHook(
            master=spark.master,
            conn_id=CONNECTION,
            deploy_mode="client",
            name=job.name,
            conf=local_conf(spark, job, folder),
            py_files=f"{spark.jobs_dir}/{PACKAGES}",
            application_args=list(job.arguments),
            env_vars=client_environment(spark, folder),
        )
        try:
            self._hook.submit(f"{spark.jobs_dir}/{job.script}")
        except AirflowException as error:
            if not self._hook.messages:
                raise
            # The provider's message is the whole command and its last output.
            raise MedallionError(f"{job.script}: " + "\n".join(self._hook.messages)) from error
        if (self._hook.numbers or {}).get("set_id"):  # with nothing to write it has loaded little
            ClassArchive.of(spark, folder).keep()
        return self._hook.numbers

    def on_kill(self) -> None:
        """Stop spark-submit, and with it the driver and its executors."""
        if self._hook is not None:
            self._hook.on_kill()
