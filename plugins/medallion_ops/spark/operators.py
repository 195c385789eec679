"""Operators: the supervised streaming driver, and Spark jobs that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from medallion_contracts.errors import MedallionError, StreamError
from medallion_ops.settings import Settings
from medallion_ops.spark.jobs import SparkJob
from medallion_ops.spark.stream_driver import Step, StreamDriver, Verdict
from medallion_ops.spark.submission import PACKAGES, client_environment, job_conf
from medallion_ops.spark.triggers import StreamDriverTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class StreamDriverOperator(BaseOperator):
    """Keeps one supervised streaming driver on the cluster, and waits for its end without a worker slot.

    It connects to the driver that runs already, or submits one; see `stream_driver` for how it never
    submits two. An end that nobody asked for fails the task at once, without a retry: the failure is the
    alert, and the next DAG run submits anew. While a stop request is in the lake it submits nothing.
    """

    def __init__(self, *, dataset: str, poll_seconds: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.poll_seconds = poll_seconds

    def execute(self, context: Context) -> str:
        """Connect, submit or wait; gives the reason of a planned end."""
        driver = StreamDriver(Settings.from_environment(), self.dataset)
        verdict = driver.look()
        self.log.info("%s: %s", verdict.step, verdict.reason)
        if verdict.step is Step.END:
            return self._end(driver, verdict)
        if verdict.step is Step.SUBMIT:
            self.log.info("submitted %s, supervised", driver.submit())
        return self._wait()

    def resume(self, context: Context, event: dict[str, Any]) -> str:
        """Look again: the event is what the trigger saw, maybe long ago."""
        self.log.info("the trigger saw: %s", event.get("reason"))
        return self.execute(context)

    def _wait(self) -> NoReturn:
        self.defer(
            trigger=StreamDriverTrigger(self.dataset, self.poll_seconds), method_name=self.resume.__name__
        )

    def _end(self, driver: StreamDriver, verdict: Verdict) -> str:
        driver.close(verdict)
        if verdict.is_planned:
            return verdict.reason
        ended = StreamError(
            f"the stream of {self.dataset} stopped: {verdict.reason}. A new driver is submitted by itself. "
            f"The old one's output is in the folder {verdict.driver_id} of its worker (stderr), and on the "
            "master's page"
        )
        raise AirflowFailException(str(ended)) from ended


class SparkJobOperator(SparkSubmitOperator):
    """Runs one Spark job to its end by spark-submit, with its driver in the task.

    `job` says what to run; it is called when the task runs, as settings are nothing to read while a DAG
    file is parsed. The master comes from the connection `spark_default`.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, job: Callable[[Settings, Context], SparkJob], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    def execute(self, context: Context) -> None:
        """Submit and wait; the job's own error message is the task's."""
        settings = Settings.from_environment()
        spark, job = settings.spark, self.job(settings, context)
        self.name = job.name
        self.application = f"{spark.jobs_dir}/{job.script}"
        self.application_args = list(job.arguments)
        self.py_files = f"{spark.jobs_dir}/{PACKAGES}"
        self.conf = job_conf(spark, job)
        hook = _JobHook(
            conf=self.conf,
            conn_id=self._conn_id,
            py_files=self.py_files,
            name=job.name,
            deploy_mode="client",
            application_args=self.application_args,
            env_vars=client_environment(spark),
        )
        self._hook = hook
        try:
            super().execute(context)
        except AirflowException as error:
            if not hook.messages:
                raise
            # The provider's message is the whole command and its last output.
            raise MedallionError(f"{job.script}: " + "\n".join(hook.messages)) from error


class _JobHook(SparkSubmitHook):
    """Remembers what the entry script said when it gave up."""

    MARK = "error: "

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.messages: list[str] = []

    def _process_spark_submit_log(self, itr: Iterator[Any]) -> None:
        super()._process_spark_submit_log(self._listened(itr))

    def _listened(self, lines: Iterator[Any]) -> Iterator[Any]:
        for line in lines:
            # An error that lists problems goes on in indented lines.
            if line.startswith(self.MARK):
                self.messages = [line.removeprefix(self.MARK).strip()]
            elif self.messages and line.startswith("  - "):
                self.messages.append(line.rstrip())
            yield line
