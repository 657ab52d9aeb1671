"""`authz-sidecar matrix`, in each of its forms."""

from pathlib import Path

from tests.cli.command_line import Run

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_data_domains_by_default(run: Run) -> None:
    """A bundle with data domains is shown as the table that its owners think in."""
    done = run("matrix", str(EXAMPLES / "viewer"))
    assert done.returncode == 0, done.stderr
    table = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines()}
    assert table["role"] == ["CLINICAL", "FINANCIAL", "PAYROLL", "DOCUMENTS", "REPORTS", "AUDIT", "ADMIN"]
    assert table["HR_PAYROLL"] == ["-", "-", "all", "-", "-", "-", "-"]
    assert table["COMPLIANCE_AUDITOR"] == ["read", "read", "-", "read", "read", "read", "-"]


def test_types_and_actions(run: Run, default_policies: str) -> None:
    """Types, and actions of types, are shown by role; roles and types can be chosen."""
    done = run("matrix", default_policies, "--role", "CLIENT", "--type", "folder", "--type", "analysis")
    assert done.stdout.splitlines()[:2] == ["object type  CLIENT", "folder       own but delete"]
    done = run("matrix", default_policies, "--role", "CLIENT", "--type", "folder", "--view", "actions")
    assert [row.split() for row in done.stdout.splitlines()[1:]] == [
        ["folder", "create", "own"],
        ["folder", "read", "own"],
        ["folder", "update", "own"],
        ["folder", "delete", "-"],
    ]


def test_forms(run: Run, default_policies: str) -> None:
    """Markdown, HTML and SVG go to standard output."""
    assert run("matrix", default_policies, "--format", "markdown").stdout.startswith("| object type | `ADMIN` |")
    assert run("matrix", default_policies, "--format", "html").stdout.startswith("<!doctype html>")
    assert run("matrix", default_policies, "--format", "svg").stdout.startswith("<svg ")


def test_unknown_names(run: Run, default_policies: str) -> None:
    """A role that is not there is an error with a guess."""
    refused = run("matrix", default_policies, "--role", "CLEINT")
    assert refused.returncode == 2
    assert "the bundle has no role `CLEINT`" in refused.stderr
    assert "did you mean `CLIENT`?" in refused.stderr


def test_plain_bundles_have_no_matrix(run: Run, rbac: Path) -> None:
    """A plain Casbin bundle declares no types; the error names the commands that answer instead."""
    refused = run("matrix")
    assert refused.returncode == 2
    assert "what-can" in refused.stderr
