"""What import-linter cannot see of the rule that floors 0 to 5 do no I/O."""

import ast
from pathlib import Path

import pytest

import authz_sidecar

PACKAGE = Path(authz_sidecar.__file__).parent
PURE_FLOORS = ["values", "model", "bundle", "compile", "decide", "review"]
FORBIDDEN = {"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"}


@pytest.mark.parametrize("floor", PURE_FLOORS)
def test_a_pure_floor_calls_no_built_in_that_reads_or_runs(floor: str) -> None:
    """Floors 0 to 4 call neither `open` nor any other built-in function that does I/O or runs text as code."""
    modules = sorted((PACKAGE / floor).rglob("*.py"))
    assert modules
    calls = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} calls {node.func.id}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN
    ]
    assert calls == []
