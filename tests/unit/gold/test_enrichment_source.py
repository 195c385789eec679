"""An enrichment source says that it changed, and never what its login is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from medallion_store.label_source import has_login, label_source_version, without_login

JDBC = "jdbc:postgresql://db:5433/crm?sslmode=require&table=public.outcomes"


def nobody(parameters: Mapping[str, str], query: str) -> str | None:
    raise AssertionError(f"no database is to be asked, but {query} was")


def test_no_source_has_no_state() -> None:
    assert label_source_version(None, {}, nobody) is None


def test_the_marker_of_a_file_changes_with_its_content_only(tmp_path: Path) -> None:
    file = tmp_path / "churn.csv"
    assert label_source_version(str(file), {}, nobody) is None
    file.write_text("a")
    before = label_source_version(f"file://{file}", {}, nobody)
    file.touch()
    assert label_source_version(str(file), {}, nobody) == before
    file.write_text("b")
    assert label_source_version(str(file), {}, nobody) != before


def test_a_table_of_postgres_is_asked_for_all_its_rows_without_writing() -> None:
    asked: list[tuple[Mapping[str, str], str]] = []

    def ask(parameters: Mapping[str, str], query: str) -> str | None:
        asked.append((parameters, query))
        return "2:77"

    assert label_source_version(JDBC, {}, ask) == "rows:2:77"
    [(parameters, query)] = asked
    assert (parameters["host"], parameters["port"], parameters["dbname"]) == ("db", "5433", "crm")
    assert parameters["sslmode"] == "require"
    assert "options" not in parameters, "poolers refuse them"
    assert query.endswith("FROM public.outcomes AS source")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("a:5432,b:5433/crm", "a,b", "5432,5433"),
        ("[2001:db8::1]:5433/crm", "2001:db8::1", "5433"),
        ("db/crm", "db", None),
    ],
)
def test_every_address_of_postgres_is_understood(address: str, host: str, port: str | None) -> None:
    asked: list[Mapping[str, str]] = []

    def ask(parameters: Mapping[str, str], query: str) -> str | None:
        asked.append(parameters)
        return "1:1"

    source = f"jdbc:postgresql://{address}?targetServerType=preferSecondary&table=public.outcomes"
    assert label_source_version(source, {}, ask) == "rows:1:1"
    [parameters] = asked
    assert (parameters["host"], parameters.get("port"), parameters["dbname"]) == (host, port, "crm")
    assert parameters["target_session_attrs"] == "prefer-standby"
    assert without_login(source) == f"jdbc:postgresql://{address}?table=public.outcomes"


def test_a_database_that_does_not_answer_has_no_state() -> None:
    assert label_source_version(JDBC, {}, lambda parameters, query: None) is None


@pytest.mark.parametrize(
    "source",
    [
        "jdbc:mysql://db/crm?table=outcomes",
        "jdbc:postgresql://db/crm",
        "jdbc:postgresql://db/crm?table=(SELECT 1) x",
        "jdbc:postgresql://db/crm?table=a; DROP TABLE b",
    ],
)
def test_only_a_plain_table_of_postgres_is_asked(source: str) -> None:
    assert label_source_version(source, {}, nobody) is None


@pytest.mark.parametrize(
    ("source", "holds_one"),
    [
        (JDBC, False),
        (f"{JDBC}&password=marked", True),
        (f"{JDBC}&user=grace", True),
        ("jdbc:postgresql://grace:marked@db/crm?table=t", True),
        ("jdbc:postgresql://grace:marked/slash@db/crm?table=t", True),
        ("jdbc:postgresql://grace:marked?query@db:5432,db2:5432/crm?table=t", True),
        ("jdbc:postgresql://grace:marked@at@[::1]:5432/crm", True),
        ("jdbc:sqlserver://db:1433;databaseName=crm;User=grace;password=marked", True),
        ("jdbc:oracle:thin:grace/marked@db:1521/crm", True),
        ("/data/user@host.csv", False),
        ("/data/key=1;b.csv", False),
        (f"{JDBC}&PASSWORD=marked", True),
        (f"{JDBC}&pass%77ord=marked", True),
        (f"{JDBC}&sslpassword=marked", True),
        ("jdbc:sqlserver://db;databaseName=crm;user=grace;password=marked", True),
        ("abfss://labels@account.dfs.core.windows.net/churn.csv?sv=1&sig=marked", True),
    ],
)
def test_a_login_in_an_address_is_noticed_and_never_shown(source: str, holds_one: bool) -> None:
    assert has_login(source) is holds_one
    assert "marked" not in without_login(source)
    assert "grace" not in without_login(source)
