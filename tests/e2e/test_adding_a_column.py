"""The README's "Adding a column" on a stack that runs, in a copy of the project: from the entry to gold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaProducer

from kafka_log import event
from medallion_stack.airflow_client import FINISHED, AirflowClient
from medallion_stack.layout import PROJECT
from medallion_stack.state import State
from medallion_stack.waiting import wait_until

SECONDS = 1500
NAME = "area_of_test"
ENTRY = re.compile(r"```yaml\n(.*?)```", re.DOTALL)

pytestmark = [pytest.mark.full, pytest.mark.timeout(3 * SECONDS)]


@dataclass(frozen=True)
class Copy:
    """A copy of the project with a stack of its own."""

    folder: Path
    state: Path

    def make(self, *words: str) -> str:
        """Run a target; gives what it said."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")}
        done = subprocess.run(
            ["make", "-s", *words],
            cwd=self.folder,
            env={**environment, "MEDALLION_STATE": str(self.state)},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"make {' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    @property
    def settings(self) -> dict[str, str]:
        """What its `stack.env` says."""
        return State(self.state).read_settings()

    def gold(self, query: str) -> list[tuple[object, ...]]:
        """Rows of a query."""
        with psycopg.connect(self.settings["MEDALLION_GOLD_DSN"]) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """The copy, with nothing running at the end."""
    # Postgres runs as another user, who must reach its programs by the copy's path.
    folder = Path(tempfile.mkdtemp(prefix="medallion-copy-"))
    folder.chmod(0o755)
    made = Copy(folder, tmp_path / "state")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (PROJECT / name).is_file():
            (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, made.folder / name)
    for name in (".venv", ".cache"):
        (made.folder / name).symlink_to((PROJECT / name).resolve())
    try:
        yield made
    finally:
        made.make("down")
        shutil.rmtree(folder)


def test_a_new_column_reaches_gold_of_a_running_platform(copy: Copy) -> None:
    copy.make("demo")
    [[customers]] = copy.gold("SELECT count(*) FROM gold.customers")

    section = (copy.folder / "README.md").read_text().partition("## Adding a column")[2]
    events = copy.folder / "expectations/medallion_contracts/customers/events.odcs.yaml"
    entry = ENTRY.findall(section)[0].replace("region", NAME)  # that may be in the contract by now
    events.write_text(events.read_text().replace("slaProperties:", f"{entry}slaProperties:", 1))
    copy.make("docs")
    assert f"{NAME} added: default unknown" in copy.make("plan")
    assert "make roll-out" in copy.make("up"), "up does not bring it in, and says so"

    said = copy.make("roll-out")
    print(said)
    [gap] = re.findall(r"the stream of customers: .* has taken over, ([0-9.]+) s", said)
    assert float(gap) < 60

    sent = event("new-column") | {NAME: "north"} | {"updated_at": datetime.now(UTC).isoformat()}
    producer = KafkaProducer(bootstrap_servers=copy.settings["MEDALLION_KAFKA_BOOTSTRAP"])
    producer.send("customers", key=b"new-column", value=json.dumps(sent).encode()).get(60)
    producer.close()
    airflow = AirflowClient.of(copy.settings)

    def is_in_gold() -> bool:
        run = airflow.trigger("customers_gold", {})
        wait_until(lambda: airflow.state("customers_gold", run) in FINISHED, SECONDS, "the gold run")
        return copy.gold(f"SELECT {NAME} FROM gold.customers WHERE customer_id = 'new-column'") == [
            ("north",)
        ]

    wait_until(is_in_gold, SECONDS, "the new field in gold")
    assert copy.gold(f"SELECT count(*) FROM gold.customers WHERE {NAME} = 'unknown'") == [(customers,)]
    assert "no change" in copy.make("plan")
