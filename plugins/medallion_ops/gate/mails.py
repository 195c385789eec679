"""What the gate's mails say. Everything from data is untrusted: shown printable, escaped, values masked."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

from medallion_contracts.model import Severity
from medallion_ops.alerts.mail import PREFIX, Mail
from medallion_ops.gate.decision import Option, options_for
from medallion_ops.gate.episodes import Episode
from medallion_ops.gate.verdict import Finding, Verdict, printable
from medallion_ops.manifest import Manifest, Publication

Links = Mapping[str, str]
"""Addresses by what they show."""

_STYLE = {
    "table": "border-collapse:collapse;font-family:sans-serif;font-size:14px",
    "cell": "border:1px solid #ccc;padding:4px 8px;text-align:left;vertical-align:top",
    Severity.CRITICAL: "color:#b00020;font-weight:bold",
    Severity.WARNING: "color:#8a5a00;font-weight:bold",
}


@dataclass(frozen=True)
class Subject:
    """The set a mail is about, and the state of gold."""

    written: Manifest
    verdict: Verdict
    last: Publication | None

    @property
    def lead(self) -> str:
        """Which data, from where, since when."""
        versions = (
            f"silver up to version {self.written.to_version}"
            if self.written.from_version is None or self.written.is_rebuild
            else f"silver versions {self.written.from_version + 1} to {self.written.to_version}"
        )
        return f"Set {self.written.set_id} of {self.written.dataset} ({versions}, run {self.written.run_id})"

    @property
    def gold_state(self) -> str:
        """What readers of gold see meanwhile."""
        if self.last is None:
            return "Gold is empty: nothing has been published yet."
        return (
            f"Gold stays as publication {self.last.publication_id} left it (silver version "
            f"{self.last.to_version}, {self.last.published_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC)."
        )


def blocked_mail(subject: Subject, episode: Episode, minutes: int, links: Links) -> Mail:
    """A set failed critical expectations: what failed, and what a person can do about it."""
    count = len(episode.failed)
    options = options_for(subject.verdict)
    what = "is blocked" if episode.is_new else "is still blocked, for other reasons"
    gone = sorted(set(episode.mailed or ()) - set(episode.failed))
    paragraphs = [
        f"{subject.lead} failed {count} critical expectation{'s' if count > 1 else ''}. {subject.gold_state}",
        *([f"No longer failing: {', '.join(gone)}."] if gone else []),
    ]
    advice = [
        f"Within {minutes} minutes a person can choose in Airflow: {', '.join(options)}. "
        f"Without an answer it is: {Option.KEEP_BLOCKED}. The next run starts from the last publication and "
        "asks again; there is another mail only when other expectations fail, or when gold is released.",
        *(
            []
            if Option.WITHOUT_FAILING_ROWS in options
            else ["Leaving rows out would not help: an expectation about a table as a whole failed."]
        ),
    ]
    return _mail(
        f"{subject.written.dataset}_gold: gold {what} ({count} critical)",
        paragraphs,
        subject.verdict.failed,
        advice,
        links,
    )


def warned_mail(subject: Subject, links: Links) -> Mail:
    """A set passed with warnings."""
    failed = [finding for finding in subject.verdict.failed if finding.severity is Severity.WARNING]
    count = len(failed)
    return _mail(
        f"{subject.written.dataset}_gold: {count} warning{'s' if count > 1 else ''} of the gate",
        [
            f"{subject.lead} did not meet {count} expectation{'s' if count > 1 else ''} that only warn"
            f"{'' if count > 1 else 's'}. They do not keep it from being published."
        ],
        failed,
        ["There is another mail only when other warnings come up."],
        links,
    )


def released_mail(dataset: str, published: Publication, links: Links) -> Mail:
    """A blocked episode ended: gold was published again."""
    by = f" by {published.decided_by}" if published.decided_by else ""
    passed = published.decision == "passed"
    how = "The gate passed the set." if passed else f"The decision{by} was: {published.decision}."
    changed = [
        f"{table}: {rows['inserted']:,} inserted, {rows['updated']:,} updated, {rows['deleted']:,} deleted, "
        f"{rows['unchanged']:,} unchanged"
        for table, rows in published.rows.items()
    ]
    return _mail(
        f"{dataset}_gold: gold is released",
        [
            f"Publication {published.publication_id} took gold of {dataset} to silver version "
            f"{published.to_version}. {how}",
            *changed,
        ],
        (),
        (),
        links,
    )


def in_markdown(verdict: Verdict, links: Links) -> str:
    """The findings for the form in Airflow's UI, which renders Markdown: untrusted text goes into code."""
    lines = []
    for finding in verdict.failed:
        lines += [f"- **{finding.severity}** {finding.description} ({_share(finding)})"]
        lines += [f"    - `{example.text.replace('`', '?')}`" for example in finding.examples]
    lines += ["", *(f"[{label}]({address})  " for label, address in links.items())]
    return "\n".join(lines)


def _mail(
    subject: str,
    paragraphs: Sequence[str],
    findings: Iterable[Finding],
    advice: Sequence[str],
    links: Links,
) -> Mail:
    findings = tuple(findings)
    text = [*map(printable, paragraphs), ""]
    for finding in findings:
        text += [
            f"{finding.severity.upper()} {finding.label}: {finding.description}",
            f"    {_share(finding)}",
        ]
        text += [f"    {example.text}" for example in finding.examples]
        text += [""]
    text += [*advice, "", *(f"{label}: {address}" for label, address in links.items())]
    return Mail(
        subject=f"{PREFIX} {subject}",
        text="\n".join(text).rstrip() + "\n",
        html="".join(
            [
                *(f"<p>{_escaped(paragraph)}</p>" for paragraph in paragraphs),
                _findings_table(findings) if findings else "",
                *(f"<p>{_escaped(paragraph)}</p>" for paragraph in advice),
                "<ul>",
                *(
                    f"<li><a href='{html.escape(address, quote=True)}'>{_escaped(label)}</a></li>"
                    for label, address in links.items()
                ),
                "</ul>",
            ]
        ),
    )


def _findings_table(findings: Iterable[Finding]) -> str:
    cell = f"style='{_STYLE['cell']}'"
    heads = "".join(f"<th {cell}>{name}</th>" for name in ("", "Expectation", "Failing", "Examples (masked)"))
    rows = "".join(
        f"<tr><td {cell}><span style='{_STYLE[finding.severity]}'>{finding.severity}</span></td>"
        f"<td {cell}>{_escaped(finding.description)}<br><small>{_escaped(finding.label)}</small></td>"
        f"<td {cell}>{_escaped(_share(finding))}</td>"
        f"<td {cell}>{'<br>'.join(_escaped(one.text) for one in finding.examples) or '-'}</td></tr>"
        for finding in findings
    )
    return f"<table style='{_STYLE['table']}'><tr>{heads}</tr>{rows}</table>"


def _share(finding: Finding) -> str:
    if finding.failing_count is None or finding.failing_percent is None:
        return f"the table as a whole ({finding.row_count:,} rows)"
    percent = finding.failing_percent
    share = f"{percent:.2f} %" if percent >= 0.01 or not percent else "less than 0.01 %"
    return f"{finding.failing_count:,} of {finding.row_count:,} rows ({share})"


def _escaped(text: str) -> str:
    return html.escape(printable(text))
