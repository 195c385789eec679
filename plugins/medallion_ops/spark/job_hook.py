"""Airflow's spark-submit hook, with an ear for the job's own error message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

MARK = "error: "
"""How an entry script begins the message that it ends with."""


class JobHook(SparkSubmitHook):
    """Runs spark-submit, logs its output, and keeps what the entry script said when it gave up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.messages: list[str] = []

    def _process_spark_submit_log(self, itr: Iterator[Any]) -> None:
        super()._process_spark_submit_log(self._overheard(itr))

    def _overheard(self, lines: Iterator[Any]) -> Iterator[Any]:
        for line in lines:
            if line.startswith(MARK):
                self.messages = [line.removeprefix(MARK).rstrip()]
            elif self.messages and line.startswith("  - "):  # an error that lists problems
                self.messages.append(line.rstrip())
            yield line
