"""The dashboard and the alert examples against what a sidecar with workers and a shared Redis exposes.

Law of this file: every metric and every label that an expression names is in the real ``/metrics``.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis_servers
import yaml
from fleet_processes import session_key
from prometheus_client.parser import text_string_to_metric_families
from sidecar_process import ROOT, configuration, running

from validator.adapters.clock import SystemClock
from validator.model import Reason
from validator.testing import FakeIdp

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/credential-validator.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
SCRAPED_WITH = {"job", "instance"}  # Prometheus puts these on every sample

_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w.$])[a-zA-Z_:][\w:]*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Expression:
    """What an expression of PromQL names; enough of its grammar for those that are here."""

    metrics: dict[str, list[tuple[str, str, str]]]
    grouped_by: set[str]


def parsed(text: str) -> Expression:
    metrics: dict[str, list[tuple[str, str, str]]] = {}
    for name, matchers in _SELECTOR.findall(text):
        assert name, f"a selector without a metric: {text}"
        metrics.setdefault(name, []).extend(_MATCHER.findall(matchers))
    bare = _GROUPING.sub(" ", _RANGE.sub(" ", _SELECTOR.sub(" ", text)))
    for name in set(_NAME.findall(bare)) - _WORDS:
        metrics.setdefault(name, [])
    labels = {label.strip() for group in _GROUPING.findall(text) for label in group.split(",")}
    return Expression(metrics, labels)


def expressions() -> list[Any]:
    panels = [
        pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]
    alerts = [
        pytest.param(rule["expr"], id=rule["alert"]) for group in ALERTS["groups"] for rule in group["rules"]
    ]
    return panels + alerts


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """Of every sample's name, the values of each of its labels."""
    text = asyncio.run(_scrape(tmp_path_factory.mktemp("metrics")))
    found: dict[str, dict[str, set[str]]] = {"up": {}}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


async def _scrape(directory: Path) -> str:
    sessions = {"keys": [session_key(0)]}
    with redis_servers.one() as redis:
        async with (
            FakeIdp({"orders": "secret"}, clock=SystemClock()) as idp,
            running(
                configuration(idp.issuer, redis={"url": redis.url}, session=sessions),
                directory,
                arguments=["--workers", "2"],
            ) as sidecar,
            aiohttp.ClientSession() as http,
        ):
            url = f"http://{sidecar.data}/v1/authorize/plain/svc"
            for sent in (
                {},
                {"Authorization": f"Bearer {idp.token('orders')}"},
                {"Authorization": "Basic orders:no"},
            ):
                async with http.get(url, headers=sent):
                    pass
            async with http.get(f"http://{sidecar.control}/metrics") as reply:
                return await reply.text()


@pytest.mark.programs
@pytest.mark.parametrize("text", expressions())
def test_expression_names_what_exists(text: str, exposed: dict[str, dict[str, set[str]]]) -> None:
    expression = parsed(text)
    assert expression.metrics
    known = set(SCRAPED_WITH)
    for metric, matchers in expression.metrics.items():
        assert metric in exposed
        labels = set(exposed[metric]) | SCRAPED_WITH
        known |= labels
        for label, operator, value in matchers:
            assert label in labels, metric
            if label == "reason":
                assert value in {"", *Reason}
            elif operator == "=" and label in {"cache", "state", "calls"}:
                assert value in exposed[metric][label]
    assert expression.grouped_by <= known


@pytest.mark.programs
def test_variables_of_the_dashboard_name_what_exists(exposed: dict[str, dict[str, set[str]]]) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(
                r"label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)", variable["definition"]
            ).groups()  # type: ignore[union-attr]
            assert metric in exposed
            assert label in SCRAPED_WITH


def test_every_panel_can_be_told_apart_and_is_in_its_place() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for panel in panels:
        assert panel["type"] == "row" or panel["targets"]


def test_parser_sees_every_name() -> None:
    """So the tests above can fail."""
    seen = parsed('sum by (le, x) (rate(a_total{b="c",d=~"e|f"}[5m])) / g unless h{} > 0.5')
    assert seen.metrics == {"a_total": [("b", "=", "c"), ("d", "=~", "e|f")], "g": [], "h": []}
    assert seen.grouped_by == {"le", "x"}
