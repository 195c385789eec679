"""Everything killed at once, as a machine that loses power does; runs last, on the same stack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from fault.checker import check, read_lake
from fault.topic_log import read_topics

from e2e.conftest import E2E_SECONDS, Platform
from medallion_contracts.loader import load_dataset
from medallion_stack.cli import start_all
from medallion_stack.report import Report
from medallion_stack.stack import process_table
from medallion_store.lake_paths import LakePaths

pytestmark = pytest.mark.timeout(E2E_SECONDS)


def test_after_kill_9_of_everything_up_goes_on_with_nothing_lost_or_twice(
    platform: Platform, demo_report: Report
) -> None:
    send = [sys.executable, "-m", "medallion_ops.producer", "--source", "synthetic"]
    send += ["--count", "3000", "--broken", "0.01", "--duplicated", "0.01", "--late", "0.01"]
    environment = {**platform.stack.airflow.environment()}
    subprocess.run(send, env=environment, capture_output=True, check=True)
    time.sleep(4)  # into the micro-batch, wherever that is by now
    while alive := process_table(platform.stack.state).members():  # some start others while they are killed
        for process in alive:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    start_all(platform.stack.state)
    subprocess.run([*send, "--seed", "1"], env=environment, capture_output=True, check=True)
    platform.wait_for_verdicts()
    dataset = load_dataset("customers")
    log = read_topics(platform.stack.broker.bootstrap, (dataset.topic, dataset.replay_topic))
    report = check(log, read_lake(LakePaths(platform.settings["MEDALLION_LAKE_URI"], "customers")), dataset)
    assert report.findings == []
    assert (report.lost, report.duplicated) == (0, 0)
    assert report.records > 13_000
