"""The mail server of an Airflow connection, read without Airflow."""

from __future__ import annotations

import json

import pytest

from medallion_ops.alerts.mail_server import MailServer
from medallion_store.secret import Secret

MARKED = "marked-5ecret"


@pytest.mark.parametrize("as_text", [True, False])
def test_a_connection_as_json(as_text: bool) -> None:
    extra = {"disable_ssl": True, "disable_tls": False, "timeout": 3, "ssl_context": "none"}
    given = {"conn_type": "smtp", "host": "mail", "port": 587, "login": "me", "password": MARKED}
    server = MailServer.parse(json.dumps({**given, "extra": json.dumps(extra) if as_text else extra}))
    assert server == MailServer("mail", 587, "me", Secret(MARKED), False, True, False, 3)
    assert MARKED not in repr(server)


@pytest.mark.parametrize(
    "query",
    ["?disable_ssl=true&timeout=4", "?__extra__=%7B%22disable_ssl%22%3A%20true%2C%20%22timeout%22%3A%204%7D"],
)
def test_a_connection_as_uri(query: str) -> None:
    server = MailServer.parse(f"smtp://me%40example.com:{MARKED}%2F@mail.example.com:25{query}")
    assert server == MailServer(
        "mail.example.com", 25, "me@example.com", Secret(f"{MARKED}/"), False, True, True, 4
    )


def test_without_options_it_is_tls_from_the_start_with_a_certificate_that_is_checked() -> None:
    server = MailServer.parse("smtp://mail:465")
    assert (server.uses_ssl, server.checks_certificate, server.login) == (True, True, None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "mail", f"smtp://:{MARKED}@/", "[]"),
        *('{"port": "x", "host": "a"}', '{"host": "a", "extra": [1]}'),
        json.dumps({"host": "mail", "extra": {"auth_type": "oauth2"}, "password": MARKED}),
    ],
)
def test_what_cannot_be_used_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="must") as refused:
        MailServer.parse(text)
    assert MARKED not in str(refused.value)
