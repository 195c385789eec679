"""The Grafana dashboard and the README name the metrics that the page exposes."""

from __future__ import annotations

import json
import re

from medallion_ops.page.metrics import GAUGES
from medallion_stack.layout import PROJECT

DASHBOARD = json.loads((PROJECT / "docker/grafana/medallion.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = [one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]


def test_every_query_of_the_dashboard_asks_for_metrics_and_labels_there_are() -> None:
    asked = set()
    for query in (*QUERIES, *VARIABLES):
        for name, labels in re.findall(r"medallion_(\w+)(?:\{([^}]*)\})?", query):
            assert name in GAUGES, query
            asked.add(name)
            assert set(re.findall(r"(\w+)\s*=", labels)) <= set(GAUGES[name][1]), query
    assert asked == set(GAUGES), "the dashboard shows every metric"


def test_legends_use_labels_of_their_metric() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            [name, *_] = re.findall(r"medallion_(\w+)", target["expr"])
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set(GAUGES[name][1])


def test_the_readme_documents_every_metric() -> None:
    readme = (PROJECT / "README.md").read_text()
    for name, (meaning, labels) in GAUGES.items():
        assert f"| `medallion_{name}` | {', '.join(labels) or '-'} | {meaning} |" in readme
