"""`authz-sidecar matrix`, in each of its forms."""

from pathlib import Path

import pytest

from tests.cli.command_line import Run

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_data_domains_by_default(call: Run) -> None:
    """A bundle with data domains is shown as the table that its owners think in."""
    done = call("matrix", str(EXAMPLES / "viewer"))
    assert done.returncode == 0, done.stderr
    table = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines()}
    assert table["role"] == ["CLINICAL", "FINANCIAL", "PAYROLL", "DOCUMENTS", "REPORTS", "AUDIT", "ADMIN"]
    assert table["HR_PAYROLL"] == ["-", "-", "all", "-", "-", "-", "-"]
    assert table["COMPLIANCE_AUDITOR"] == ["read", "read", "-", "read", "read", "read", "-"]


def test_types_and_actions(call: Run, default_policies: str) -> None:
    """Types, and actions of types, are shown by role; roles and types can be chosen."""
    done = call("matrix", default_policies, "--role", "CLIENT", "--type", "folder", "--type", "analysis")
    assert done.stdout.splitlines()[:2] == ["object type  CLIENT", "folder       own but delete"]
    done = call("matrix", default_policies, "--role", "CLIENT", "--type", "folder", "--view", "actions")
    assert [row.split() for row in done.stdout.splitlines()[1:]] == [
        ["folder", "create", "own"],
        ["folder", "read", "own"],
        ["folder", "update", "own"],
        ["folder", "delete", "-"],
    ]


def test_forms(call: Run, default_policies: str) -> None:
    """Markdown, HTML and SVG go to standard output."""
    assert call("matrix", default_policies, "--format", "markdown").stdout.startswith("| object type | `ADMIN` |")
    assert call("matrix", default_policies, "--format", "html").stdout.startswith("<!doctype html>")
    assert call("matrix", default_policies, "--format", "svg").stdout.startswith("<svg ")


def test_unknown_names(call: Run, default_policies: str) -> None:
    """A role that is not there is an error with a guess."""
    refused = call("matrix", default_policies, "--role", "CLEINT")
    assert refused.returncode == 2
    assert "the bundle has no role `CLEINT`" in refused.stderr
    assert "did you mean `CLIENT`?" in refused.stderr


def test_data_domains_have_no_types(call: Run) -> None:
    """Choosing types of a table without types is refused, and without a view it shows types."""
    refused = call("matrix", str(EXAMPLES / "viewer"), "--view", "data-domains", "--type", "patient_record")
    assert refused.returncode == 2
    assert "`--type` chooses object types" in refused.stderr
    shown = call("matrix", str(EXAMPLES / "viewer"), "--type", "patient_record", "--type", "patient_record")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["object", "patient_record"]


@pytest.mark.usefixtures("rbac")
def test_plain_bundles_have_no_matrix(call: Run) -> None:
    """A plain Casbin bundle declares no types; the error names the commands that answer instead."""
    refused = call("matrix")
    assert refused.returncode == 2
    assert "what-can" in refused.stderr
