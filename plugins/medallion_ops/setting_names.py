"""Names with our prefix that no one reads: a misspelled setting changes nothing, in silence."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from medallion_contracts.loader import dataset_names
from medallion_ops.settings import declarations, overridable

PREFIX = "MEDALLION_"
OF_THE_STACKS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "STATE",
        "STACK_MEMBER",
        "MAIL_DIR",
        "PII_READER_DSN",
        "AIRFLOW_USER",
        "AIRFLOW_PASSWORD",
        "AIRFLOW_OPERATOR_PASSWORD",
        "AIRFLOW_VIEWER_PASSWORD",
        # Where the contracts' servers are, for tools that read contracts.
        "GOLD_HOST",
        "GOLD_DATABASE",
    )
)
"""What the stacks and the contracts name beside the platform's settings."""


def unknown_names(environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with names of settings that nothing reads; never a value.

    A dataset's own names are left to `Settings`, which knows which settings may differ by dataset.

    Args:
        environ: The environment; a name without a value counts as not set.
    """
    known = {*OF_THE_STACKS, *(one.name for _, one in declarations())}
    own = {one.name_for(dataset) for one in overridable().values() for dataset in dataset_names()}
    of_datasets = tuple(f"{PREFIX}{dataset.upper()}_" for dataset in dataset_names())
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name.startswith(of_datasets):
            continue
        if environ[name].strip():
            close = difflib.get_close_matches(name, sorted(known | own), n=1, cutoff=0.8)
            yield f"{name}: there is no such setting" + (f", {close[0]} is meant?" if close else "")
