"""Addresses of Postgres: parsed by libpq alone, and shown without their login.

Several hosts (`h1:5432,h2:5433`, `?host=a,b`), IPv6 and sockets, key=value pairs: whatever libpq takes.
"""

from __future__ import annotations

from typing import Any

from medallion_contracts.errors import SettingsError
from medallion_store.secret import Secret

SETTING = "MEDALLION_GOLD_DSN"
ENCODING = "UTF8"
"""Of every session, whatever database or role would have it be."""


def parse_dsn(dsn: str) -> dict[str, Any]:
    """A DSN by keyword of libpq; of several hosts, `host` and `port` hold lists with commas.

    Raises:
        ValueError: It is none; says what is expected and repeats nothing of it.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        parts = {}
    if not (parts.get("dbname") or parts.get("service")):
        raise ValueError(
            "must be an address of libpq: postgresql://user:password@host:port/database[?options], or "
            "key=value pairs with dbname"
        )
    shown = "".join(str(parts.get(name, "")) for name in ("host", "hostaddr", "dbname"))
    ports = str(parts.get("port", "")).split(",")
    if "@" in shown or not all(port.isdecimal() for port in ports if port):
        # An unescaped @ or / of a password ends up in host, port or database.
        raise ValueError(
            "must have special characters of user and password percent-encoded (@ is %40, / is %2F), and "
            "numbers as ports"
        )
    return parts


def libpq_parameters(dsn: Secret) -> dict[str, Any]:
    """The gold DSN by keyword of libpq, see `parse_dsn`.

    Raises:
        SettingsError: It is no DSN.
    """
    try:
        return parse_dsn(dsn.reveal())
    except ValueError as problem:
        raise SettingsError("gold cannot be reached", [f"{SETTING} {problem}"]) from None


def libpq_environment(dsn: Secret) -> dict[str, str]:
    """A DSN as the variables of libpq's programs, such as psql; arguments are for all to see."""
    from psycopg import pq

    parts = libpq_parameters(dsn) | {"client_encoding": ENCODING}
    return {
        option.envvar.decode(): str(parts[name])
        for option in pq.Conninfo.get_defaults()
        if option.envvar and (name := option.keyword.decode()) in parts
    }


def address(dsn: Secret) -> str:
    """Hosts, ports and database of a DSN, without the login: h1:5432,h2:5433/gold.

    What the DSN leaves out is libpq's default. IPv6 addresses are in brackets, sockets begin with a slash.
    """
    from psycopg import pq

    parts = libpq_parameters(dsn)
    defaults = {
        option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val
    }

    def part(name: str) -> str:
        return str(parts.get(name) or defaults.get(name) or "")

    hosts = (part("host") or part("hostaddr") or "localhost").split(",")
    ports = [port or "5432" for port in part("port").split(",")]
    if len(ports) == 1:
        ports *= len(hosts)
    places = [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in zip(hosts, ports, strict=False)
    ]
    return f"{','.join(places)}/{part('dbname') or part('user')}"
