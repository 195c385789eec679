"""An alert as JSON to a chat or paging service: Slack (Mattermost and others alike), Teams or PagerDuty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.alerts.alert import Alert, Level
from medallion_ops.alerts.mail import PREFIX, printable, render

TIMEOUT_SECONDS = 10
LONGEST_TEXT = 3_000
FORMATS = ("slack", "teams", "pagerduty")
_PAGERDUTY_SEVERITY = {Level.CRITICAL: "critical", Level.WARNING: "warning", Level.RESOLVED: "info"}


def body(alert: Alert, kind: str) -> Mapping[str, Any]:
    """The JSON that a service takes.

    Args:
        alert: what is said.
        kind: one of FORMATS.
    """
    title = f"{PREFIX} {printable(alert.subject)}"
    text = render(alert).text[:LONGEST_TEXT]
    if kind == "pagerduty":  # Events API v2; the routing key is added when it is sent
        return {
            "event_action": "resolve" if alert.level is Level.RESOLVED else "trigger",
            "dedup_key": alert.key or title,
            "payload": {
                "summary": title[:1024],
                "source": "medallion",
                "severity": _PAGERDUTY_SEVERITY[alert.level],
                "custom_details": {"text": text},
            },
        }
    if kind == "teams":  # an Adaptive Card, as Teams' workflows take it
        blocks = [
            {"type": "TextBlock", "text": title, "weight": "bolder", "wrap": True},
            {"type": "TextBlock", "text": text, "wrap": True},
        ]
        card = {"type": "AdaptiveCard", "version": "1.4", "body": blocks}
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        return {"type": "message", "attachments": [attachment]}
    return {"text": f"*{_in_slack(title)}*\n{_in_slack(text)}"}


def _in_slack(text: str) -> str:
    """Slack's three control characters, escaped: what is quoted mentions no one and links nowhere."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def post(address: str, content: Mapping[str, Any]) -> None:
    """Post JSON to a webhook.

    Args:
        address: a secret, as most services have their key in it; PagerDuty's routing key is given as its
            query parameter `routing_key` and travels in the body.
        content: of `body`.

    Raises:
        ServiceUnavailable: the service does not answer or refuses; names its host only.
    """
    import httpx

    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query))
    key = query.pop("routing_key", None)
    target = urlunsplit(parts._replace(query=urlencode(query)))
    try:
        answer = httpx.post(
            target,
            json={**content, "routing_key": key} if key else dict(content),
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
        )
    except httpx.HTTPError as error:
        raise _unavailable(parts.hostname, type(error).__name__) from None
    if not answer.is_success:
        raise _unavailable(parts.hostname, f"it answered {answer.status_code}")


def _unavailable(host: str | None, reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"the webhook at {host} did not take an alert ({reason}): check MEDALLION_ALERT_WEBHOOK"
    )
