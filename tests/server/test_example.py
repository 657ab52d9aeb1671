"""The example that the README shows."""

import subprocess
import sys
from pathlib import Path

from tests.server.sidecar import running_sidecar

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_readme_answers_as_shown() -> None:
    """`examples/check.py` against the default bundle prints what the README says."""
    with running_sidecar(policies=ROOT / "policies") as sidecar:
        example = [sys.executable, str(ROOT / "examples" / "check.py"), sidecar.grpc]
        ended = subprocess.run(example, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "allow REASON_ALLOWED_BY_RULE\n"
    shown = f"$ .venv/bin/python examples/check.py\n{ended.stdout}"
    assert shown in (ROOT / "README.md").read_text(encoding="utf-8")
