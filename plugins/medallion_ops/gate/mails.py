"""What the gate's alerts say. Everything from data is untrusted: shown printable, escaped, values masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC

from medallion_contracts.loader import load_dataset
from medallion_contracts.model import Severity
from medallion_ops.alerts.alert import Alert, Detail, Level
from medallion_ops.gate.decision import Option, options_for
from medallion_ops.gate.episodes import Episode
from medallion_ops.gate.verdict import Finding, Verdict
from medallion_store.manifests import Manifest
from medallion_store.publications import Publication

Links = Mapping[str, str]
"""Addresses by what they show."""


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


def blocked_alert(subject: Subject, episode: Episode, minutes: int, links: Links) -> Alert:
    """A set failed critical expectations: what failed, and what a person can do about it.

    Args:
        subject: the set and the state of gold.
        episode: open, of kind BLOCKED.
        minutes: how long a person may answer.
        links: to the run, the question and the Data Docs.
    """
    count = len(episode.failed)
    options = options_for(subject.verdict, load_dataset(subject.written.dataset))
    what = "is blocked" if episode.is_new else "is still blocked, for other reasons"
    gone = sorted(set(episode.mailed or ()) - set(episode.failed))
    helps = Option.WITHOUT_FAILING_ROWS in options
    return Alert(
        subject=f"{subject.written.dataset}_gold: gold {what} ({count} critical)",
        happened=[
            f"{subject.lead} failed {count} critical expectation{'s' if count > 1 else ''}.",
            *([f"No longer failing: {', '.join(gone)}."] if gone else []),
        ],
        since=subject.written.created_at,
        meaning=subject.gold_state,
        first_step=f"Within {minutes} minutes a person can choose in Airflow: {', '.join(options)}. "
        f"Without an answer it is: {Option.KEEP_BLOCKED}."
        if len(options) > 1
        else "Find out where these rows come from: gold cannot store them, so there is nothing to choose.",
        details=_details(subject.verdict.failed),
        notes=[
            "The next run starts from the last publication. There is another mail and another question only "
            "when other expectations fail, or gold was released; a run triggered with `ask` asks again.",
            *(
                []
                if helps
                else ["Leaving rows out would not help: an expectation about a table as a whole failed."]
            ),
        ],
        links=links,
        key=f"blocked {episode.episode_id} {' '.join(episode.failed)}",
    )


def warned_alert(subject: Subject, links: Links) -> Alert:
    """A set passed with warnings.

    Args:
        subject: the set and the state of gold.
        links: to the run and the Data Docs.
    """
    failed = [finding for finding in subject.verdict.failed if finding.severity is Severity.WARNING]
    count = len(failed)
    return Alert(
        subject=f"{subject.written.dataset}_gold: {count} warning{'s' if count > 1 else ''} of the gate",
        level=Level.WARNING,
        happened=[
            f"{subject.lead} did not meet {count} expectation{'s' if count > 1 else ''} that only warn"
            f"{'' if count > 1 else 's'}."
        ],
        since=subject.written.created_at,
        meaning="Warnings do not keep a set from being published.",
        first_step="Look at the examples: is the source right, or the expectation?",
        details=_details(failed),
        notes=["There is another mail only when other warnings come up."],
        links=links,
        key=f"warned {subject.written.set_id}",
    )


def released_alert(dataset: str, published: Publication, links: Links) -> Alert:
    """A blocked episode ended: gold was published again.

    Args:
        dataset: its name.
        published: the publication that ended it.
        links: to the run.
    """
    by = f" by {published.decided_by}" if published.decided_by else ""
    passed, _, more = published.decision.partition("; ")
    how = f"The decision{by} was: {published.decision}."
    if passed == "passed":
        how = "The gate passed the set" + (f"; {more}." if more else ".")
    return Alert(
        subject=f"{dataset}_gold: gold is released",
        level=Level.RESOLVED,
        happened=[
            f"Publication {published.publication_id} took gold of {dataset} to silver version "
            f"{published.to_version}. {how}"
        ],
        since=published.published_at,
        facts={
            table: ", ".join(
                f"{rows[what]:,} {what}" for what in ("inserted", "updated", "deleted", "unchanged")
            )
            for table, rows in published.rows.items()
        },
        links=links,
        key=f"released {dataset} {published.publication_id}",
    )


def in_markdown(verdict: Verdict, links: Links) -> str:
    """The findings for the form in Airflow's UI, which renders Markdown: untrusted text goes into code.

    Args:
        verdict: of the set.
        links: below the findings.
    """
    lines = []
    for finding in verdict.failed:
        lines += [f"- **{finding.severity}** {finding.description} ({_share(finding)})"]
        lines += [f"    - `{example.text.replace('`', '?')}`" for example in finding.examples]
    lines += ["", *(f"[{label}]({address})  " for label, address in links.items())]
    return "\n".join(lines)


def _details(findings: Iterable[Finding]) -> list[Detail]:
    return [
        Detail(
            Level.CRITICAL if finding.severity is Severity.CRITICAL else Level.WARNING,
            finding.description,
            finding.label,
            [_share(finding), *(example.text for example in finding.examples)],
        )
        for finding in findings
    ]


def _share(finding: Finding) -> str:
    if finding.failing_count is None or finding.failing_percent is None:
        return f"the table as a whole ({finding.row_count:,} rows)"
    percent = finding.failing_percent
    share = f"{percent:.2f} %" if percent >= 0.01 or not percent else "less than 0.01 %"
    return f"{finding.failing_count:,} of {finding.row_count:,} rows ({share})"
