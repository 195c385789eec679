"""Airflow's spark-submit hook, with an ear for what the job itself has to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

from medallion_ops.processes import end_with_children, ending_with_parent

MARK = "error: "
"""How an entry script begins the message that it ends with."""


class JobHook(SparkSubmitHook):
    """Runs spark-submit, logs its output, and keeps the entry script's last words.

    `messages` is what it said when it gave up, `numbers` the JSON object it printed at the end.
    """

    def __init__(self, *, master: str, **kwargs: Any) -> None:
        self._master = master
        super().__init__(**kwargs)
        self.messages: list[str] = []
        self.numbers: dict[str, Any] | None = None

    def _resolve_connection(self) -> dict[str, Any]:
        # The stream's and the jobs' master is one setting; without a connection the hook would take YARN.
        return {**super()._resolve_connection(), "master": self._master}

    def _get_spark_binary_path(self) -> list[str]:
        return ending_with_parent(super()._get_spark_binary_path())

    def on_kill(self) -> None:
        """End spark-submit and all that it started: the provider ends its JVM only, and not the driver."""
        if self._submit_sp is not None:
            end_with_children(self._submit_sp)
        super().on_kill()

    def _process_spark_submit_log(self, itr: Iterator[Any]) -> None:
        super()._process_spark_submit_log(self._overheard(itr))

    def _overheard(self, lines: Iterator[Any]) -> Iterator[Any]:
        for line in lines:
            if line.startswith(MARK):
                self.messages = [line.removeprefix(MARK).rstrip()]
            elif self.messages and line.startswith("  - "):  # an error that lists problems
                self.messages.append(line.rstrip())
            elif line.startswith("{"):
                self.numbers = _json_object(line) or self.numbers
            yield line


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
