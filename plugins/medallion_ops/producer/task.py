"""One run of the producer as an Airflow task."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from medallion_contracts.errors import ParameterError
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.limit_settings import LimitSettings
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.settings import ProducerSettings
from medallion_ops.stream_settings import StreamSettings

if TYPE_CHECKING:
    from airflow.sdk import Context


def parameters(given: Mapping[str, Any], run_after: datetime, folder: Path | None = None) -> Parameters:
    """The producer's parameters out of a DAG run's.

    Events that the producer makes are dated by the run, not by the clock, where that is possible: a retry
    then sends the same bytes again, which the stream finds to be duplicates.

    Args:
        given: The run's parameters.
        run_after: The run's time.
        folder: What a file must be in (MEDALLION_PRODUCER_DIR).

    Raises:
        ParameterError: They are not valid; lists all problems.
    """
    as_of, wanted = given.get("as_of"), None
    with suppress(ValueError):  # its message quotes what was given, and would be in the log with ours
        wanted = datetime.fromisoformat(as_of) if as_of else None
    if as_of and wanted is None:
        problem = "as_of: is no ISO 8601 time, such as 2026-11-28T12:00:00Z"
        raise ParameterError(_SUBJECT, [problem])
    if given.get("file") and folder is None:
        problem = "file: MEDALLION_PRODUCER_DIR is not set, so there is no folder to take files from"
        raise ParameterError(_SUBJECT, [problem])
    known = {name: value for name, value in given.items() if name in Parameters.__dataclass_fields__}
    known |= {"source": Source(given["source"]), "file": Path(given["file"]) if given.get("file") else None}
    known["folder"] = folder
    asked = Parameters(**{**known, "as_of": wanted})
    if wanted is not None or asked.is_endless or asked.source.is_sent_as_it_is:
        return asked
    return Parameters(**{**known, "as_of": run_after})


_SUBJECT = "the producer's parameters are not valid"


class ProducerOperator(BaseOperator):
    """Checks the topic, sends what the run's parameters say, and gives the counts.

    Progress is in the task's log. A task that is stopped (marked, cleared, or timed out) hands over what is
    under way, and ends.
    """

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self._stop = Event()

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the producer.

        Raises:
            ParameterError: The parameters are not valid; nothing was sent.
            SourceError: The source cannot be read; nothing was sent.
            ServiceUnavailable: The broker does not answer, or did not acknowledge a record in time.
        """
        # Kafka's client takes a while to load.
        from medallion_ops.producer.sending import Run

        given = {**context["params"], "dataset": self.dataset}
        wanted = parameters(given, context["dag_run"].run_after, ProducerSettings.from_environment().folder)
        watermark = timedelta(minutes=StreamSettings.from_environment(dataset=self.dataset).watermark_minutes)
        silence = timedelta(minutes=LimitSettings.from_environment().producer_minutes)
        run = Run(wanted, KafkaSettings.from_environment(), watermark, silence)
        try:
            run.execute(self._stop)
        finally:
            self.log.info("%s", run.summary.as_json())
        return run.summary.as_json()

    def on_kill(self) -> None:
        """Ask the run to end; what was handed over is still acknowledged."""
        self._stop.set()
