"""Each kind of incident has a paragraph on what to do, and its mail leads there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from medallion_ops.monitor import problem
from medallion_ops.monitor.runbook import incident_links, plain, sections
from medallion_ops.watch import findings
from settings_of_tests import settings


def codes() -> set[str]:
    """The first argument of every Problem that the monitor and the watcher make."""
    folders = [Path(module.__file__ or "").parent for module in (problem, findings)]
    calls = [
        node
        for folder in folders
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem" and node.args
    ]
    return {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}


def test_every_code_has_a_paragraph_and_every_paragraph_a_code() -> None:
    assert len(codes()) >= 20
    assert codes() == set(sections()) - {""}, "write the paragraph in monitor/runbook.md, or remove it there"


@pytest.mark.parametrize("code", sorted(codes()))
def test_each_paragraph_says_what_it_is_and_has_the_command(code: str) -> None:
    text = sections()[code]
    assert "```console\n" in text, f"{code}: give the exact command"
    assert len(text.partition("```")[0]) > 80, f"{code}: say what it is and what follows"
    assert "```" not in plain(code)


def test_a_mail_leads_to_its_paragraph_in_airflow_or_where_a_setting_says() -> None:
    here = settings()
    link = incident_links(here.alerts, here.monitor, "loss")["What to do"]
    assert link == "https://airflow.example.com/medallion/runbook#loss"
    elsewhere = settings(RUNBOOK_URL="https://git.example.com/runbook.md")
    link = incident_links(elsewhere.alerts, elsewhere.monitor, "{code}")["What to do"]
    assert link == "https://git.example.com/runbook.md#{code}"
    nowhere = settings(AIRFLOW_URL="")
    assert incident_links(nowhere.alerts, nowhere.monitor, "loss") == {}
