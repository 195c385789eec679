"""The commands of the local stack."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable

from medallion_contracts.errors import MedallionError
from medallion_stack import bootstrap, layout, preflight, supervisor
from medallion_stack.console import say
from medallion_stack.environment import base_environment
from medallion_stack.parallel import in_parallel
from medallion_stack.postgres import binary
from medallion_stack.shutdown import clean, down
from medallion_stack.stack import Stack, exclusive, process_table
from medallion_stack.state import State
from medallion_store.postgres_address import libpq_environment
from medallion_store.secret import Secret


def main(arguments: list[str]) -> None:
    """Run one command; ends the process with 1 and a message when it fails."""
    passed_on = {"airflow": _airflow, "psql": _psql, "plan": _plan}.get(arguments[0] if arguments else "")
    if passed_on:  # all that follows is that program's, --help included
        options = argparse.Namespace(run=passed_on, needs_venv=True, arguments=arguments[1:])
    else:
        options = _parser().parse_args(arguments)
    try:
        if options.needs_venv and not _is_venv():
            set_up()
            python = str(layout.VENV / "bin/python")
            os.execve(python, [python, "-m", "medallion_stack", *arguments], _own_environment())  # noqa: S606
        options.run(options)
    except MedallionError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        say("interrupted; the same command again goes on from here")
        os._exit(130)  # threads that still wait for a service would keep the process


def set_up() -> None:
    """Make `.venv` and fetch the jars, side by side; quick when they are there.

    Raises:
        MissingProgram: the machine lacks something; nothing was done.
        ServiceUnavailable: a download failed.
    """
    preflight.check()
    started = time.monotonic()
    in_parallel([bootstrap.ensure_venv, _ensure_jars])
    seconds = time.monotonic() - started
    if seconds > 2:
        say(f"set up .venv and jars in {seconds:.0f} s")


def _ensure_jars() -> None:
    # One after the other: two Mavens that fill one repository at once may see half a file.
    bootstrap.ensure_jars("broker", layout.BROKER_JARS)
    bootstrap.ensure_jars("spark", layout.SPARK_JARS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stack.py",
        description="The platform on this machine: broker, Postgres, mail sink, Spark, Airflow; on loopback.",
        epilog="MEDALLION_STATE chooses the state folder (default: .state in the project).",
    )
    commands = parser.add_subparsers(metavar="command", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, *, needs_venv: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run, needs_venv=needs_venv)
        return added

    command("setup", lambda _: None, "make .venv and fetch the jars, start nothing")
    command("up", _up, "start everything that does not run, and wait until it answers")
    command(
        "demo",
        _demo,
        "up, then the customer table through Airflow to gold, then a report; exit 1 unless all holds",
    )
    command(
        "roll-out",
        _roll_out,
        "bring new contracts and code to the running stack; the stream is handed over",
    )
    command("down", _down, "stop everything; data stays", needs_venv=False)
    command("clean", _clean, "stop everything and remove the state folder", needs_venv=False)
    command("status", _status, "show which services run, their addresses and memory; exit 1 unless all run")
    logs = command("logs", _logs, "follow the logs of all services, or of some", needs_venv=False)
    logs.add_argument("service", nargs="*", help="e.g. broker airflow-scheduler; default: all")
    command("supervise", _supervise, "restart services that die, until stopped (`up` starts this)")
    commands.add_parser("airflow", help="Airflow's own command line against the stack")
    commands.add_parser("plan", help="what the contracts here change of those that the stack runs on")
    commands.add_parser("psql", help="SQL on the gold database, as its writer")
    return parser


def _up(_: argparse.Namespace) -> None:
    start_all(State.of_environment())


def _demo(_: argparse.Namespace) -> None:
    from medallion_stack import demo, report

    state = State.of_environment()
    stack = start_all(state)
    made = report.make_report(stack, *demo.run_all(stack))
    say(f"\n{made.text}\n")
    say(f"kept as {made.keep(state.folder / 'reports')}")
    if not made.holds:
        sys.exit("the demo ran, but not every check holds: see SENT AND FOUND above")
    say("every check holds")


def start_all(state: State) -> Stack:
    """Bring the stack up, with its supervisor."""
    started = time.monotonic()
    with exclusive(state):
        stack = Stack.of(state, say)
        stack.up()
        supervisor.start(stack)
    seconds = time.monotonic() - started
    say(f"the stack is up ({seconds:.0f} s): {stack.airflow.url}, login in {state.settings_file}")
    return stack


def _roll_out(_: argparse.Namespace) -> None:
    from medallion_ops.dataset_settings import datasets_that_run
    from medallion_ops.roll_out import check, roll_out
    from medallion_ops.settings import Settings

    started, state = time.monotonic(), _running_state()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with exclusive(state):
        stack = Stack.of(state, say)
        settings = Settings.from_environment(stack.airflow.settings)
        datasets = datasets_that_run(stack.airflow.settings)
        check(settings, datasets)  # before anything is done
        stack.bring_in_code()
        supervisor.start(stack)
    roll_out(settings, datasets)
    say(f"contracts and code of this folder run everywhere ({time.monotonic() - started:.0f} s)")


def _plan(options: argparse.Namespace) -> None:
    from medallion_ops import plan

    os.environ.update(State.of_environment().read_settings())  # of the gold that runs, if one does
    sys.exit(plan.main(options.arguments))


def _down(_: argparse.Namespace) -> None:
    state = State.of_environment()
    if state.folder.exists():
        with exclusive(state):
            down(state, say)
    say("the stack is down")


def _clean(options: argparse.Namespace) -> None:
    _down(options)
    clean(State.of_environment())


def _status(_: argparse.Namespace) -> None:
    from medallion_stack.status import print_status

    if not print_status(State.of_environment()):
        sys.exit(1)


def _logs(options: argparse.Namespace) -> None:
    state = State.of_environment()
    known = {path.stem: path for path in sorted(state.logs.glob("*.log"))}
    unknown = [name for name in options.service if name not in known]
    if unknown or not known:
        there = ", ".join(known) or "none: nothing was started yet"
        raise MedallionError(f"no logs of {', '.join(unknown) or 'any service'}; there are: {there}")
    files = [str(known[name]) for name in options.service or known]
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])  # noqa: S606


def _supervise(_: argparse.Namespace) -> None:
    supervisor.run(State.of_environment())


def _airflow(options: argparse.Namespace) -> None:
    stack = Stack.of(_running_state())
    done = subprocess.run(
        [str(layout.VENV / "bin/airflow"), *options.arguments], env=stack.airflow.environment(), check=False
    )
    sys.exit(done.returncode)


def _psql(options: argparse.Namespace) -> None:
    settings = _running_state().read_settings()
    environment = base_environment() | libpq_environment(Secret(settings["MEDALLION_GOLD_DSN"]))
    psql = str(binary("psql"))
    os.execve(psql, [psql, *options.arguments], environment)  # noqa: S606


def _running_state() -> State:
    state = State.of_environment()
    if process_table(state).find("postgres") is None:
        raise MedallionError("the stack is not up: run `make up` first")
    return state


def _is_venv() -> bool:
    return sys.prefix == str(layout.VENV)


def _own_environment() -> dict[str, str]:
    settings = {name: value for name, value in os.environ.items() if name.startswith("MEDALLION_")}
    return {**base_environment(), **settings}
