"""Which supervisor the watcher takes for dead, and that the local stack has it watched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medallion_ops.watch.supervisor import has_died
from medallion_stack.watch import watcher_service
from medallion_store.process_id import ProcessId


def test_a_living_one_and_none_at_all_are_not_dead(tmp_path: Path) -> None:
    note, own = tmp_path / "supervisor.json", ProcessId.of(os.getpid())
    assert own
    assert not has_died(None)
    assert not has_died(note), "stopped on purpose, or not started yet"
    note.write_text(json.dumps(vars(own)))
    assert not has_died(note)


@pytest.mark.parametrize(
    "noted",
    ['{"pid": 4194304, "started": "x:1"}', f'{{"pid": {os.getpid()}, "started": "x:1"}}', "{}", "{"],
    ids=["gone", "another with its number", "empty", "no JSON"],
)
def test_a_process_that_is_gone_or_another_with_its_number_is_dead(tmp_path: Path, noted: str) -> None:
    note = tmp_path / "supervisor.json"
    note.write_text(noted)
    assert has_died(note)


def test_the_local_stack_has_its_supervisor_watched(tmp_path: Path) -> None:
    service = watcher_service({}, tmp_path, tmp_path / "supervisor.json")
    assert list(service.command[-2:]) == ["--supervisor", str(tmp_path / "supervisor.json")]
