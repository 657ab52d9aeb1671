"""Compiling in a process of its own."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.compile.transfer import TransferError
from authz_sidecar.decide import Decider
from authz_sidecar.sources import build as build_module
from authz_sidecar.sources.build import Build, BuildError, BuildReport, read_built
from authz_sidecar.values import build_request

BUNDLE = Path(__file__).parents[1] / "server" / "bundle"


def snapshot_of(build: Build) -> Snapshot:
    """The snapshot that a build wrote."""

    def read() -> Generator[None, None, Snapshot]:
        found.append((yield from read_built(build.fd)))
        return found[0]

    found: list[Snapshot] = []
    list(read())
    return found[0]


def report_of(path: Path, digest: str = "") -> BuildReport:
    """What compiling a directory comes to."""
    build = Build(path, digest)
    try:
        return build.result()
    finally:
        build.close()


def test_a_bundle_is_compiled_beside_this_process() -> None:
    """The snapshot that comes back decides as the bundle says."""
    build = Build(BUNDLE)
    report = build.result()
    assert (report.built, report.unchanged, report.errors, report.rules) == (True, False, 0, 7)
    request, _ = build_request("alice", "read", type="folder", id="1", company="acme")
    assert request is not None
    assert Decider(snapshot_of(build)).decide(request).allowed
    build.close()


def test_the_same_content_is_not_compiled_again(tmp_path: Path) -> None:
    """With the digest of what is served only the version is found out."""
    first = report_of(BUNDLE)
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    again = report_of(copy, first.digest)
    assert (again.built, again.unchanged, again.digest) == (False, True, first.digest)
    (copy / "policy.csv").write_text("p, editor, acme, folder:*, read, allow\n")
    assert report_of(copy, first.digest).built


def test_findings_come_back_whole(tmp_path: Path) -> None:
    """Errors come with place and remedy; the reason in one line names the first and counts the rest."""
    shutil.copytree(BUNDLE, tmp_path / "copy")
    with (tmp_path / "copy" / "policy.csv").open("a") as rows:
        rows.write("p, editor\nnonsense\n")
    report = report_of(tmp_path / "copy")
    assert not report.built
    assert report.errors == 2
    assert report.why.startswith("policy.csv:8:1: ")
    assert report.why.endswith(" (and 1 more)")
    assert all(found.help for found in report.diagnostics)


def test_a_missing_directory_is_a_finding(tmp_path: Path) -> None:
    """A directory that is not there is reported as any fault of a bundle."""
    report = report_of(tmp_path / "missing")
    assert (report.built, report.policy_version) == (False, "")
    assert "cannot be read" in report.why


def test_modules_of_the_current_directory_are_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file `yaml.py` where the sidecar was started, such as a repository of policies, is never run."""
    for name in ("yaml.py", "msgspec.py", "authz_sidecar.py"):
        (tmp_path / name).write_text("raise SystemExit('taken over')\n")
    monkeypatch.chdir(tmp_path)
    assert report_of(BUNDLE).built


def test_a_compiler_that_is_killed_is_an_error() -> None:
    """When the process dies there is no report, and no snapshot is read from its file."""
    build = Build(BUNDLE)
    build._process.kill()  # noqa: SLF001 - a death that nobody could order otherwise
    with pytest.raises(BuildError, match="ended with -9"):
        build.result()
    with pytest.raises((TransferError, ValueError)):
        snapshot_of(build)
    build.close()


def test_a_compiler_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling that takes longer than its bound is an error."""
    monkeypatch.setattr(build_module, "BUILD_SECONDS", 0)
    build = Build(BUNDLE)
    with pytest.raises(BuildError, match="takes longer than 0 s"):
        build.result()
    build.close()
