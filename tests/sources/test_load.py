"""Loading: a path to a checked bundle with its version."""

import gc
from pathlib import Path

import pytest

from authz_sidecar.sources.load import load_bundle

POLICIES = Path(__file__).resolve().parents[2] / "policies"


def test_the_default_bundle_loads_without_findings() -> None:
    """`policies/` is clean and has tests for every cell of its table in every situation."""
    loaded = load_bundle(POLICIES)
    assert loaded.diagnostics == ()
    assert loaded.bundle is not None
    assert loaded.bundle.form == "yaml"
    matrix = [test for test in loaded.bundle.tests if test.name.startswith("access levels: ")]
    # 6 types with 4 actions and 4 with 3, for 6 roles in 8 situations.
    assert len(matrix) == (6 * 4 + 4 * 3) * 6 * 8


def test_faults_of_directory_and_content_come_together(tmp_path: Path) -> None:
    """A bundle with errors is None; its version still names what was read."""
    (tmp_path / "model.conf").write_text("nonsense")
    loaded = load_bundle(tmp_path)
    assert loaded.bundle is None
    assert loaded.errors
    assert loaded.errors == loaded.diagnostics
    assert loaded.policy_version.startswith("sha256:")


def test_a_missing_directory_has_no_version(tmp_path: Path) -> None:
    """Nothing was read, so nothing is named."""
    loaded = load_bundle(tmp_path / "none")
    assert loaded.bundle is None
    assert [found.code for found in loaded.errors] == ["bundle-missing"]
    assert loaded.policy_version == ""


@pytest.mark.parametrize("enabled", [True, False])
def test_loading_leaves_garbage_collection_as_it_was(enabled: bool) -> None:
    """It is paused while a bundle is built, and only then."""
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        load_bundle(POLICIES)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
