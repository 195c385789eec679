"""The parts that settings are declared with: secrets, parsers of text, and sections of declared fields."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from medallion_contracts.errors import SettingsError
from medallion_store.postgres_address import parse_dsn
from medallion_store.secret import Secret

SUBJECT = "the settings are not valid"
_HOST = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.%\w]+\]")


# --- parsers: from text to a value; ValueError says what is expected and never repeats the text ------------


def text(value: str) -> str:
    """Any text."""
    return value


def secret(value: str) -> Secret:
    """Any text, never shown."""
    return Secret(value)


def absolute_path(value: str) -> Path:
    """An absolute path; it need not exist on this machine."""
    path = Path(value)
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def whole_number(value: str, *, at_least: int, at_most: int) -> int:
    """A whole number between two limits, both included."""
    try:
        number = int(value)
    except ValueError:
        number = at_least - 1
    if not at_least <= number <= at_most:
        raise ValueError(f"must be a whole number from {at_least} to {at_most}")
    return number


def choice(value: str, *, of: tuple[str, ...]) -> str:
    """One of a few spellings."""
    if value not in of:
        raise ValueError(f"must be one of {', '.join(of)}")
    return value


def numbers_by_name(value: str) -> tuple[tuple[str, float], ...]:
    """`name=number`, several separated by commas."""
    numbers: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, equals, number = part.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise ValueError("must be name=number, several separated by commas")
    return tuple(numbers.items())


def dates_by_name(value: str) -> tuple[tuple[str, date], ...]:
    """`name=YYYY-MM-DD`, several separated by commas."""
    dates: dict[str, date] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, _, day = part.rpartition("=")
        try:
            dates[name.strip()] = date.fromisoformat(day.strip())
        except ValueError:
            name = ""
        if not name.strip():
            raise ValueError("must be name=YYYY-MM-DD, several separated by commas")
    return tuple(dates.items())


def memory(value: str) -> str:
    """An amount of memory as Spark spells it."""
    if not re.fullmatch(r"[1-9]\d{0,5}[mg]", value):
        raise ValueError("must be an amount of memory such as 1g or 1536m")
    return value


def flag(value: str) -> bool:
    """Either true or false, in any case."""
    if value.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return value.lower() == "true"


def _port_is_valid(port: str) -> bool:
    return port.isdecimal() and 0 < int(port) < 65536


def servers(value: str) -> str:
    """`host:port`, several separated by commas; blanks around them are dropped."""
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not _HOST.fullmatch(host) or not _port_is_valid(port):
            raise ValueError("must be host:port, several separated by commas")
    return ",".join(server.strip() for server in value.split(","))


def http_url(value: str) -> str:
    """An address without a trailing slash."""
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("must be an http:// or https:// address")
    return link(value).rstrip("/")


def link(value: str) -> str:
    """An address that people are shown: it holds no login."""
    try:
        is_open = urlsplit(value).username is None
    except ValueError:
        is_open = False
    if not is_open:
        raise ValueError("must be an address without a login: it is shown in logs and mails")
    return value


def secret_url(value: str) -> Secret:
    """A web address that holds a key: never shown."""
    parts = urlsplit(value)
    http_url(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    return Secret(value)


def spark_master(value: str) -> str:
    """A standalone master's address, several with commas for a standby one."""
    if not value.startswith("spark://"):
        raise ValueError("must be spark://host:port (a standalone master)")
    return "spark://" + servers(value.removeprefix("spark://"))


def postgres_dsn(value: str) -> Secret:
    """A libpq address, URI or key=value pairs; a secret, as it holds a password."""
    parse_dsn(value)
    return Secret(value)


def lake_uri(value: str) -> str:
    """A folder or an ADLS Gen2 address, without a trailing slash."""
    parts = urlsplit(value)
    is_azure = parts.scheme in ("abfss", "abfs") and bool(parts.username) and bool(parts.hostname)
    if is_azure and (parts.password or parts.query or parts.fragment):
        raise ValueError("must not hold a key: use MEDALLION_LAKE_AUTH and its settings")
    if not (value.startswith("/") or is_azure):
        raise ValueError(
            "must be an absolute folder or abfss://<container>@<account>.dfs.core.windows.net[/path]"
        )
    return value.rstrip("/")


def mail_addresses(value: str) -> tuple[str, ...]:
    """Mail addresses separated by commas."""
    addresses = tuple(address.strip() for address in value.split(","))
    for address in addresses:
        # A line break in an address would let its owner add mail headers.
        name, _, domain = address.partition("@")
        if not name or not domain or not address.isprintable() or " " in address:
            raise ValueError("must be mail addresses separated by commas")
    return addresses


def mail_address(value: str) -> str:
    """One mail address."""
    (address, *more) = mail_addresses(value)
    if more:
        raise ValueError("must be one mail address")
    return address


# --- the declaration ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Declaration:
    """What is known about one setting apart from its value."""

    name: str
    parse: Callable[[str], Any]
    description: str
    example: str
    default: str | None = None
    is_required: bool = False

    def name_for(self, dataset: str) -> str:
        """The name that gives one dataset a value of its own."""
        return f"MEDALLION_{dataset.upper()}_{self.name.removeprefix('MEDALLION_')}"

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.parse in (secret, secret_url, postgres_dsn)


def setting(
    name: str,
    parse: Callable[[str], Any],
    description: str,
    *,
    example: str = "",
    default: str | None = None,
    required: bool = False,
) -> Any:
    """Declare a setting as a dataclass field: `default` is text as the environment would hold it."""
    declaration = Declaration(f"MEDALLION_{name}", parse, description, example, default, required)
    metadata = {"setting": declaration}
    if required:
        return field(metadata=metadata)
    return field(default=None if default is None else parse(default), metadata=metadata)


class Section:
    """Settings that belong together; a frozen dataclass whose fields are declared by `setting`."""

    TITLE: ClassVar[str]
    PER_DATASET: ClassVar[bool] = False
    """Whether `MEDALLION_<DATASET>_<NAME>` may give a dataset a value of its own."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, dataset: str | None = None) -> Self:
        """Read this section.

        Args:
            environ: The environment.
            dataset: Whose values to take, where a dataset may have its own.

        Raises:
            SettingsError: A setting is missing or not valid; lists all of them.
        """
        problems: list[str] = []
        section = cls.read(environ, problems, dataset)
        if section is None:
            raise SettingsError(SUBJECT, problems)
        return section

    @classmethod
    def read(cls, environ: Mapping[str, str], problems: list[str], dataset: str | None = None) -> Self | None:
        """The section, or None after adding to `problems` what is wrong with it."""
        values: dict[str, Any] = {}
        before = len(problems)
        for attribute, declaration in cls.declarations():
            name, given = declaration.name, ""
            # Compose files and unit files pass unset variables on as empty text.
            if cls.PER_DATASET and dataset is not None:
                given = environ.get(declaration.name_for(dataset), "").strip()
                name = declaration.name_for(dataset) if given else name
            given = given or environ.get(declaration.name, "").strip()
            if not given:
                if declaration.is_required:
                    problems.append(f"{declaration.name} is not set: {declaration.description}")
                continue
            try:
                values[attribute] = declaration.parse(given)
            except ValueError as error:
                # Never the value: what is wrong here may be a secret of another setting.
                problems.append(f"{name}: the value {error}")
        if len(problems) > before:
            return None
        section = cls(**values)
        problems.extend(section._contradictions())
        return section if len(problems) == before else None

    @classmethod
    def declarations(cls) -> Iterator[tuple[str, Declaration]]:
        """(attribute, declaration) of each setting of the section."""
        own: tuple[Field[Any], ...] = fields(cls)  # type: ignore[arg-type]  # every section is a dataclass
        for one in own:
            yield one.name, one.metadata["setting"]

    def _contradictions(self) -> Iterator[str]:
        """Settings that are valid alone but not together."""
        return iter(())

    def _missing(self, *attributes: str, because: str) -> Iterator[str]:
        names = {attribute: declaration.name for attribute, declaration in self.declarations()}
        for attribute in attributes:
            if getattr(self, attribute) is None:
                yield f"{names[attribute]} is not set: needed because {because}"
