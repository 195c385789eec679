"""`python -m medallion_ops.settings_check`: are the settings of this environment complete and valid?"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence

from medallion_contracts.errors import MedallionError, SettingsError
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.monitor.settings import MonitorSettings
from medallion_ops.producer.settings import ProducerSettings
from medallion_ops.setting_fields import SUBJECT
from medallion_ops.setting_names import unknown_names
from medallion_ops.settings import Settings, declarations, settings_table
from medallion_ops.spark.settings import SparkSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the environment, or print the README's table. Exit code 1 when a setting is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m medallion_ops.settings_check",
        description="Checks the MEDALLION_* settings of this environment and shows them; secrets as ***.",
    )
    parser.add_argument(
        "--table", action="store_true", help="print the README's table of all settings instead"
    )
    try:
        if parser.parse_args(arguments).table:
            print(settings_table())  # noqa: T201  # the table is this command's output
            return 0
        return _check(os.environ)
    except BrokenPipeError:  # whoever reads has read enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _check(environ: Mapping[str, str]) -> int:
    try:
        check_settings(environ)
    except MedallionError as error:
        print(error, file=sys.stderr)  # noqa: T201  # what went wrong is this command's output
        return 1
    for _, one in declarations():
        given = environ.get(one.name, "")
        shown = "***" if one.is_secret and given else given or one.default or "-"
        print(f"{one.name}={shown}")  # noqa: T201  # the settings are this command's output
    sys.stdout.flush()
    return 0


def check_settings(environ: Mapping[str, str]) -> None:
    """Hold an environment against everything that can be known of it on this machine.

    Args:
        environ: The environment.

    Raises:
        SettingsError: lists every problem: values, names that nothing reads, files that are not there.
    """
    problems: list[str] = []
    try:
        Settings.from_environment(environ)
    except SettingsError as error:
        problems += error.problems
    problems += unknown_names(environ)
    spark = SparkSettings.read(environ, [])
    if spark is not None:
        problems += _missing_files(spark)
    problems += _missing_paths(environ)
    if problems:
        raise SettingsError(SUBJECT, problems)


def _missing_files(spark: SparkSettings) -> Iterator[str]:
    if not any(spark.jars.glob("*.jar")):
        yield f"MEDALLION_SPARK_JARS: no jars in {spark.jars}"
    if not any(spark.jobs_dir.glob("*.py")):
        yield f"MEDALLION_JOBS_DIR: no entry scripts in {spark.jobs_dir}"
    if not spark.secrets_file.is_file():
        yield f"MEDALLION_SECRETS_FILE: there is no file {spark.secrets_file}"
    elif not os.access(spark.secrets_file, os.R_OK):
        yield f"MEDALLION_SECRETS_FILE: {spark.secrets_file} cannot be read by this user"
    if shutil.which(spark.python) is None:
        yield f"MEDALLION_SPARK_PYTHON: there is no program {spark.python}"


def _missing_paths(environ: Mapping[str, str]) -> Iterator[str]:
    kafka, producer = KafkaSettings.read(environ, []), ProducerSettings.read(environ, [])
    monitor = MonitorSettings.read(environ, [])
    if kafka and kafka.ca_file and not kafka.ca_file.is_file():
        yield f"MEDALLION_KAFKA_CA_FILE: there is no file {kafka.ca_file}"
    if producer and producer.folder and not producer.folder.is_dir():
        yield f"MEDALLION_PRODUCER_DIR: there is no folder {producer.folder}"
    if monitor and monitor.canary_maildir and not monitor.canary_maildir.is_dir():
        yield f"MEDALLION_CANARY_MAILDIR: there is no folder {monitor.canary_maildir}"


if __name__ == "__main__":
    sys.exit(main())
