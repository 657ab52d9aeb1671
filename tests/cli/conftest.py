"""Bundles on disk and the real command, run as its users run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from authz_sidecar.cli import main
from tests.cli.command_line import RBAC_MODEL, RBAC_POLICY, Run, WriteBundle
from tests.directory.conftest import dialect, empty_store, store_url

__all__ = ["dialect", "empty_store", "store_url"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `python -m authz_sidecar` with arguments, in the test's own directory and a bare environment."""

    def start(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
        for name in ("NO_COLOR", "FORCE_COLOR"):
            kept.pop(name, None)
        return subprocess.run(
            [sys.executable, "-m", "authz_sidecar", *arguments],
            cwd=tmp_path,
            env=kept | dict(env or {}),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return start


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """As `run`, but in this process: where many calls would otherwise mostly start Python."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("AUTHZ_") or name in {"NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = main.run(arguments)
        said = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return start


@pytest.fixture
def write_bundle(tmp_path: Path) -> WriteBundle:
    """Write files into a directory below the test's own and return it."""

    def write(files: Mapping[str, str | bytes], name: str = "policies") -> Path:
        root = tmp_path / name
        for file, content in files.items():
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return root

    return write


@pytest.fixture
def rbac(write_bundle: WriteBundle) -> Path:
    """A plain Casbin bundle with roles, as `policies/`."""
    return write_bundle({"model.conf": RBAC_MODEL, "policy.csv": RBAC_POLICY})


@pytest.fixture
def default_policies() -> str:
    """The repository's own bundle, a YAML one with policy tests."""
    return str(Path(__file__).parents[2] / "policies")
