"""What every task looks at before its work."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from medallion_contracts.errors import ParameterError
from medallion_store.parent_process import end_with_parent

if TYPE_CHECKING:
    from airflow.sdk import Context

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}", re.ASCII)
_OF_AIRFLOW = frozenset({"openlineage"})
"""Keys that Airflow's own providers add to the configuration of a run that a task triggers."""


def before_task(context: Context) -> None:
    """Airflow's `pre_execute` hook of every task.

    Raises:
        ParameterError: The run has parameters that its DAG does not know.
    """
    _end_with_supervisor()
    task = context["task"]
    if not task.upstream_task_ids:  # one mail a run
        refuse_unknown(context["dag_run"].conf or {}, task.dag.params if task.dag else ())


def refuse_unknown(given: Mapping[str, object], known: Iterable[str]) -> None:
    """Refuse what a misspelled parameter is: Airflow would take it, and run with the default.

    Args:
        given: The run's configuration.
        known: Names of the DAG's parameters.

    Raises:
        ParameterError: Lists all unknown names, never a value.
    """
    names = sorted(known)
    problems = [_unknown(name, names) for name in given if name not in {*names, *_OF_AIRFLOW}]
    if problems:
        raise ParameterError("this run's parameters are not valid, nothing was done", problems)


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"{_shown(name)}: this DAG takes no parameters"
    if close := difflib.get_close_matches(name, known, n=1):
        return f"{_shown(name)}: there is no such parameter, {close[0]} is meant?"
    return f"{_shown(name)}: there is no such parameter, the DAG takes {', '.join(known)}"


def _shown(name: str) -> str:
    # Whoever puts a value where the name belongs does not want to read it in a mail.
    return name if _NAME.fullmatch(name) else "(a name that is none)"


def _end_with_supervisor() -> None:
    """Where Airflow runs the task in a process of its own, end it when what watches over it is killed.

    Nothing would hear of it any more, and Airflow's next try would work beside it.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    if isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), CommsDecoder):
        end_with_parent()
