"""The page of gates: its examples are gates of the bundle that the format reference describes."""

import re
from pathlib import Path

from authz_sidecar.bundle.gates import KINDS
from authz_sidecar.bundle.standard_model import EXTENDED
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.review.gates.evaluate import evaluate_state_gates
from authz_sidecar.review.material import Material
from tests.bundle.expectations import read
from tests.bundle.test_bundle_docs import EXAMPLES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
(WHOLE,) = re.findall(r"^# gates.yaml\n(?:(?!```).*\n)+", PAGE, re.MULTILINE)
SINGLE = re.findall(r"^```yaml\n((?:  .*\n)+)```", PAGE, re.MULTILINE)


def test_the_examples_are_gates_that_hold() -> None:
    """Every kind has an example, and the bundle of the format reference keeps them all."""
    bundle = read({"model.conf": EXTENDED, **EXAMPLES, "gates.yaml": WHOLE + "".join(SINGLE)})
    assert {gate.kind for gate in bundle.gates} == set(KINDS)
    snapshot, _ = compile_bundle(bundle)
    assert snapshot is not None
    assert evaluate_state_gates(Material(bundle, snapshot)) == ()


def test_every_kind_is_described() -> None:
    """Each kind of gate has a section."""
    assert [kind for kind in KINDS if f"### `{kind}`" not in PAGE] == []
