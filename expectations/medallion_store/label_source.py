"""Where an enrichment source is, what people are told of it, and how to tell that it changed.

The gold job and Airflow both ask here, so that they decide alike. A source is a CSV file or a Delta table (a
path, local or in the lake's account), or `jdbc:postgresql://host/database?table=schema.name`, several
hosts with commas.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode

from medallion_store.postgres_address import parse_dsn

AskPostgres = Callable[[Mapping[str, str], str], str | None]
"""Runs a query in the database that libpq parameters name; the text of its one value, or None: no answer."""

USERNAME, PASSWORD = "MEDALLION_CHURN_USERNAME", "MEDALLION_CHURN_PASSWORD"
"""Settings with the login to a database; never in the address."""

# Of the parameters in an address, those that libpq knows by the same name and meaning.
_LIBPQ_TOO = ("sslmode", "sslrootcert")
_SECRET_OPTION = re.compile(r"^[^=]*(user|uid|pass|pwd|secret|token|credential|sig|key)[^=]*=", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
_SERVER_TYPES = {
    "primary": "primary",
    "master": "primary",
    "secondary": "standby",
    "preferSecondary": "prefer-standby",
}
_CHUNK_BYTES = 2**20


def is_jdbc(source: str) -> bool:
    """Whether an enrichment source is a table of a database."""
    return source.startswith("jdbc:")


def is_csv(source: str) -> bool:
    """Whether an enrichment source is a CSV file; a path of another kind is a Delta table."""
    return not is_jdbc(source) and source.lower().endswith((".csv", ".csv.gz"))


def jdbc_table(source: str) -> tuple[str, str | None]:
    """Splits jdbc:postgresql://host/db?table=schema.name into the driver's URL and the table."""
    address, _, query = source.partition("?")
    options = dict(parse_qsl(query))
    table = options.pop("table", None)
    return f"{address}?{urlencode(options)}" if options else address, table


def without_login(source: str) -> str:
    """The source for messages: no user, no password, no options but the table."""
    if not is_jdbc(source):
        return source.partition("?")[0] if "://" in source else source
    kind, separator, rest = source.removeprefix("jdbc:").partition("://")
    if not separator:  # another spelling, such as oracle:thin:user/password@host
        return f"jdbc:{kind.partition(':')[0]}:..."
    # A login ends at the last @, whatever characters a password has.
    place, _, query = rest.rpartition("@")[2].partition("?")
    kept = urlencode([(name, value) for name, value in parse_qsl(query) if name == "table"])
    return f"jdbc:{kind}://{place.partition(';')[0]}{'?' if kept else ''}{kept}"


def has_login(source: str) -> bool:
    """Whether an address names a user or holds a password, key, token or signature."""
    if any(_SECRET_OPTION.search(unquote(option)) for option in re.split(r"[?&;]", source)[1:]):
        return True
    return is_jdbc(source) and "@" in source


def label_source_version(
    source: str | None, storage_options: Mapping[str, str], ask_postgres: AskPostgres
) -> str | None:
    """State of an enrichment source: changes when the source does, also without new silver.

    Args:
        source: as `MEDALLION_CHURN_SOURCE` has it.
        storage_options: how `deltalake` logs in to the lake; empty for a folder.
        ask_postgres: asks a database, with its login.

    Returns:
        None when the source is not there or does not answer, or is one that cannot be asked: a database other
        than Postgres, or a query in place of a table. Such a source is read whenever there is new silver.
    """
    if source is None:
        return None
    if is_jdbc(source):
        return _postgres_version(source, ask_postgres)
    if is_csv(source):
        if _is_remote(source):
            return _remote_file_version(source, storage_options)
        return _file_version(Path(source.removeprefix("file://")))
    return _delta_version(source, storage_options)


def label_source_problem(
    source: str | None, storage_options: Mapping[str, str], ask_postgres: AskPostgres
) -> str | None:
    """Why an enrichment source cannot be read, without reading it.

    Args:
        source: as `MEDALLION_CHURN_SOURCE` has it.
        storage_options: how `deltalake` logs in to the lake; empty for a folder.
        ask_postgres: asks a database, with its login.

    Returns:
        None when it is there, or is a database that cannot be asked from here.
    """
    if source is None:
        return None
    if is_jdbc(source):
        url, table = jdbc_table(source)
        parameters = _libpq_of_jdbc(url)
        if parameters is None or not _PLAIN_NAME.fullmatch(table or ""):
            return None
        asked = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1) AS one"  # noqa: S608 - a plain name
        answer = ask_postgres(parameters, asked)
        return None if answer else f"{without_login(source)} does not answer, or has no such table"
    if not is_csv(source):
        is_there = _delta_version(source, storage_options) is not None
        return None if is_there else f"{without_login(source)} is no Delta table that can be opened"
    is_there = _has_remote_file(source, storage_options) if _is_remote(source) else _has_file(source)
    return None if is_there else f"{without_login(source)} is no file that can be read"


def _has_file(source: str) -> bool:
    path = Path(source.removeprefix("file://"))
    return path.is_file() and os.access(path, os.R_OK)


def _has_remote_file(source: str, storage_options: Mapping[str, str]) -> bool:
    from deltalake.exceptions import DeltaError
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import FileType, PyFileSystem

    folder, _, name = source.rpartition("/")
    try:
        files = PyFileSystem(DeltaStorageHandler(folder, dict(storage_options)))
        return bool(files.get_file_info(name).type == FileType.File)
    except (DeltaError, OSError):
        return False


def _is_remote(source: str) -> bool:
    return "://" in source and not source.startswith("file://")


def _delta_version(source: str, storage_options: Mapping[str, str]) -> str | None:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(source, storage_options=dict(storage_options))
    except (DeltaError, OSError):
        return None
    return f"delta:{table.metadata().id}@{table.version()}"


def _file_version(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _remote_file_version(source: str, storage_options: Mapping[str, str]) -> str | None:
    from deltalake.exceptions import DeltaError
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    folder, _, name = source.rpartition("/")
    digest = hashlib.sha256()  # of all of it: the store's times are whole seconds
    try:
        files = PyFileSystem(DeltaStorageHandler(folder, dict(storage_options)))
        with files.open_input_stream(name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (DeltaError, OSError):
        return None
    return f"sha256:{digest.hexdigest()}"


def _postgres_version(source: str, ask: AskPostgres) -> str | None:
    url, table = jdbc_table(source)
    parameters = _libpq_of_jdbc(url)
    if parameters is None or not _PLAIN_NAME.fullmatch(table or ""):
        return None
    # Whole rows, in any order: a count alone would miss a changed label.
    state = ask(
        parameters,
        "SELECT count(*) || ':' || coalesce(sum(hashtextextended(source::text, 0)::numeric), 0) "  # noqa: S608 - a plain name
        f"FROM {table} AS source",
    )
    return None if state is None else f"rows:{state}"


def _libpq_of_jdbc(url: str) -> dict[str, str] | None:
    """The address of a JDBC URL for libpq, one host or several; None when it is not one of Postgres."""
    address, _, query = url.removeprefix("jdbc:").partition("?")
    given = dict(parse_qsl(query))
    try:
        parts = parse_dsn(address)
    except ValueError:
        return None
    parameters = {name: str(value) for name, value in parts.items()}
    parameters |= {name: given[name] for name in _LIBPQ_TOO if name in given}
    if wanted := _SERVER_TYPES.get(given.get("targetServerType", "")):
        parameters["target_session_attrs"] = wanted
    return parameters
