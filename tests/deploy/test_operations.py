"""What the operators' guide and the alerts say exists: options, metrics, labels, headings."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
import yaml

from authz_sidecar._proto.authz.v1 import authorization_service_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar.transports.grpc.errors import ErrorReason
from authz_sidecar.values import Reason
from tests.deploy.serve_options import serve_command
from tests.server.sidecar import Sidecar, check_of, running_sidecar

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
# Of a histogram and of a counter there are series of these names.
SERIES = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """A server that has answered a check."""
    with running_sidecar() as running:
        assert running.stub.Check(check_of(), timeout=10).allowed
        yield running


def exposed(sidecar: Sidecar) -> dict[str, str]:
    """The sidecar's own metrics and their types."""
    return dict(re.findall(r"^# TYPE (authz_\w+) (\w+)$", sidecar.get("/metrics")[1], re.MULTILINE))


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading of the guide, without their backticks."""
    section = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_option_is_in_the_guide() -> None:
    """The table has each option of `serve`, with its environment variable and its default, and no other."""
    written = {name: (variable, default) for name, variable, default, *_ in rows("Options")}
    known = {}
    for option in serve_command().params:
        assert isinstance(option, click.Option)
        if option.name != "help":
            known[max(option.opts, key=len)] = (option.envvar, default_of(option))
    assert written == known


def default_of(option: click.Option) -> str:
    """The default as the guide writes it."""
    if option.is_flag:
        return "off"
    if option.name == "socket_owner":
        return "who runs it"
    default = option.default
    return str(default).removesuffix(".0") if isinstance(default, str | int | float | Path) else "none"


def test_every_metric_is_in_the_guide(sidecar: Sidecar) -> None:
    """The table has each metric that is exposed, with its type, and no other."""
    assert {name: kind for name, kind, *_ in rows("Metrics")} == exposed(sidecar)


def test_alerts_use_metrics_that_exist(sidecar: Sidecar) -> None:
    """Each name in an alert's expression is exposed, a histogram's by its series."""
    kinds = exposed(sidecar)
    for rule in RULES:
        names = re.findall(r"\bauthz_\w+", rule["expr"])
        assert names or "up{" in rule["expr"]
        for name in names:
            assert kinds.get(name) in {"counter", "gauge"} or kinds[SERIES.sub("", name)] == "histogram", name


def test_alerts_use_labels_that_exist(sidecar: Sidecar) -> None:
    """Each value of a label that an alert asks for is one that the sidecar exposes."""
    text = sidecar.get("/metrics")[1]
    found = {
        (label, value)
        for rule in RULES
        for label, value in re.findall(r'\b(reason|method|outcome)="([^"]+)"', rule["expr"])
    }
    assert {label for label, _ in found} == {"reason", "method", "outcome"}
    for label, value in found:
        assert f'{label}="{value}"' in text
    allowing = {reason.label for reason in Reason if reason.label.startswith("allowed_")}
    assert allowing == {"allowed_by_rule", "allowed_without_rule"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_runbook(rule: dict[str, Any]) -> None:
    """Its annotation leads to the heading of its name in the guide, under which there is something to do."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor == rule["alert"].lower()
    assert len(GUIDE.partition(f"\n### {rule['alert']}\n")[2].partition("\n#")[0]) > 100
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]


def test_every_runbook_has_an_alert() -> None:
    """No heading names an alert that does not exist."""
    assert set(re.findall(r"^### (Authz\w+)$", GUIDE, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_the_service_config_works(sidecar: Sidecar) -> None:
    """The example names real methods, and a client that is given it gets answers."""
    text = next(block for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL) if "methodConfig" in block)
    service = authorization_service_pb2.DESCRIPTOR.services_by_name["AuthorizationService"]
    for name in [name for config in json.loads(text)["methodConfig"] for name in config["name"]]:
        assert name["service"] == service.full_name
        assert name.get("method", "Check") in service.methods_by_name
    with grpc.insecure_channel(sidecar.grpc, options=[("grpc.service_config", text)]) as channel:
        assert AuthorizationServiceStub(channel).Check(check_of()).allowed


def test_the_guide_names_reasons_that_exist() -> None:
    """The reasons of refused calls that the guide tells apart are those of the wire."""
    named = {name for row in rows("Clients") for name in re.findall(r"[A-Z]{3,}(?:_[A-Z]+)+", row[0])}
    assert named
    assert named <= {reason.value for reason in ErrorReason}


def anchors(page: str) -> set[str]:
    """What links to the headings of a page are called."""
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall("^#+ (.+)$", page, re.MULTILINE)
    }


def test_links_lead_somewhere() -> None:
    """Each link to a file of the repository or to a heading has its target."""
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        page = ROOT / "docs" / file if file else ROOT / "docs" / "operations.md"
        assert page.exists(), target
        assert not heading or heading in anchors(page.read_text()), target
