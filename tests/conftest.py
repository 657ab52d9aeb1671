"""Rules for all tests: in continuous integration nothing is skipped."""

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import authz_sidecar

# Every run decides thousands of random requests; `--hypothesis-profile long` looks a hundred times further.
settings.register_profile("usual", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("usual"), max_examples=20_000)
settings.load_profile("usual")

# grpcio's core writes notes about lost connections to standard error, which several tests provoke.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# A sidecar may log much: the end of it says why a test failed.
LOG_CHARACTERS = 4000
IN_CI = os.environ.get("CI", "") not in {"", "0", "false"}


def pytest_report_header() -> str:
    """Say which build is tested: the installed wheel or the source tree."""
    return f"authz-sidecar: {Path(authz_sidecar.__file__).parent}"


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in continuous integration, where nothing may be: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test fails in continuous integration; a failed one tells what the sidecars that run have logged."""
    report = yield
    _forbid_skip(report)
    # Tests without a sidecar need not import what runs one.
    if report.failed and (sidecars := sys.modules.get("tests.server.sidecar")):
        for sidecar in sidecars.running:
            report.sections.append((f"log of the sidecar on {sidecar.grpc}", sidecar.log[-LOG_CHARACTERS:]))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does a file that skips itself."""
    report = yield
    _forbid_skip(report)
    return report
