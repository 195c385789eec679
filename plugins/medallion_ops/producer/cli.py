"""The command `python -m medallion_ops.producer`."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from types import FrameType

from medallion_contracts.errors import MedallionError, ParameterError
from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import add_dataset_argument
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.parameters import Amount, Parameters, Source, amount
from medallion_ops.stream_settings import StreamSettings

_EPILOG = """\
examples:
  python -m medallion_ops.producer --source telco --file customers.csv --create-topic
  python -m medallion_ops.producer --source synthetic --rate 1000 --broken 0.01 --late 0.005
  python -m medallion_ops.producer --source jsonl --file events.jsonl --dry-run

The broker is a setting: MEDALLION_KAFKA_BOOTSTRAP, and the other MEDALLION_KAFKA_* for its login.
Progress goes to stderr every 5 seconds; the last line of stdout is a JSON summary.

SIGTERM and SIGINT (Ctrl-C) end the run: nothing new is sent, everything under way is acknowledged
(at most 20 s), the summary is printed. A second signal ends the process at once.

exit codes:
  0  everything sent is acknowledged, also after a signal; --dry-run: nothing would be rejected
  1  an error, told on stderr: wrong arguments or file, broker not reachable, a record not acknowledged
  2  the command line cannot be understood
  3  --dry-run: the contract would reject records
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        parameters = _parameters(options)
        return _dry_run(parameters) if options.dry_run else _send(parameters, options.create_topic)
    except MedallionError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _send(parameters: Parameters, create_missing_topic: bool) -> int:
    stop = _stop_on_signals()
    # Kafka's client takes a while to load: not for --help, wrong arguments or a dry run.
    from medallion_ops.producer.sending import Run

    run = Run(parameters, KafkaSettings.from_environment(), _watermark(parameters.dataset))
    try:
        run.execute(stop, create_missing_topic=create_missing_topic)
    finally:
        _print_json(run.summary.as_json())
    return 0


def _dry_run(parameters: Parameters) -> int:
    from medallion_ops.producer.dry_run import judge
    from medallion_ops.producer.plan import plan

    if parameters.is_endless:
        raise ParameterError("a dry run must have an end", ["count: give it, or leave --loop out"])
    dataset = load_dataset(parameters.dataset)
    stream = StreamSettings.from_environment(dataset=parameters.dataset)
    records = plan(parameters, dataset, timedelta(minutes=stream.watermark_minutes))
    verdicts = judge(records, dataset, reject_unknown=stream.reject_unknown_fields)
    sys.stdout.write(f"{verdicts.as_text()}\n")
    _print_json(verdicts.as_json())
    return 3 if verdicts.rejected else 0


def _watermark(dataset: str) -> timedelta:
    return timedelta(minutes=StreamSettings.from_environment(dataset=dataset).watermark_minutes)


def _print_json(values: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(values)}\n")
    sys.stdout.flush()


def _stop_on_signals() -> Event:
    """An event that the first SIGTERM or SIGINT sets; the second one acts as if nobody had asked."""
    stop = Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, ask)
    return stop


def _parameters(options: argparse.Namespace) -> Parameters:
    names = Parameters.__dataclass_fields__
    return Parameters(**{name: value for name, value in vars(options).items() if name in names})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.producer",
        description="Sends a dataset's events to its Kafka topic.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_argument_group("what to send")
    source.add_argument(
        "--source",
        type=Source,
        required=True,
        choices=list(Source),
        metavar="{" + ",".join(Source) + "}",
        help="telco: the Telco customer table (CSV), with names and e-mails made up; csv, jsonl: a file with "
        "the event's field names, sent as it is; synthetic: made-up customers",
    )
    source.add_argument("--file", type=Path, metavar="PATH", help="the file of telco, csv or jsonl")
    add_dataset_argument(source)
    source.add_argument(
        "--count", type=int, metavar="N", help="events to send (default: the whole file; synthetic: no end)"
    )
    source.add_argument(
        "--rate", type=float, metavar="R", help="records per second (default: as fast as possible)"
    )
    source.add_argument(
        "--loop", action="store_true", help="begin again at the end of the file, until --count or a signal"
    )
    source.add_argument(
        "--seed", type=int, default=0, help="same seed, same customers and names (default: %(default)s)"
    )
    source.add_argument(
        "--as-of",
        type=_moment,
        metavar="TIME",
        help="ISO 8601: date the events of telco and synthetic over the five minutes before it, so that the "
        "same command sends the same bytes again (default: each when it is sent)",
    )
    source.add_argument(
        "--customers",
        type=int,
        default=10_000,
        metavar="N",
        help="how many customers synthetic has (default: %(default)s)",
    )
    faults = parser.add_argument_group(
        "records besides the events",
        "N is a number (12) or a fraction of the events (0.01); for telco and synthetic",
    )
    faults.add_argument(
        "--broken",
        type=_amount,
        default=0,
        metavar="N",
        help="records that the contract rejects, each for one reason",
    )
    faults.add_argument("--duplicated", type=_amount, default=0, metavar="N", help="exact repeats of events")
    faults.add_argument(
        "--late",
        type=_amount,
        default=0,
        metavar="N",
        help="versions older than the stream's watermark allows, sent last",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--create-topic", action="store_true", help="create the topic when there is none")
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="send nothing; report what the contract would reject, and where",
    )
    return parser


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be a time in ISO 8601 with an offset, as in 2026-03-01T12:00:00Z"
        ) from None


def _amount(text: str) -> Amount:
    try:
        return amount(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number (12) or a fraction of the events (0.01)") from None
