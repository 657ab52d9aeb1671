"""Loading: `python -m bench.load SCENARIO`, each scenario in a process of its own.

csv    1 M rules and 1 M assignments from a directory of CSV: time of each step, memory after it
yaml   10 k YAML grants with their places
"""

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.bundle.standard_model import BASIC
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.sources.directory import read_directory
from bench.data import PLAIN_MODEL, plain_rows
from bench.measure import memory_mb, peak_memory_mb, settle

COMPANIES = 10_000
ROLES, GRANTS = 200, 50


def csv() -> dict[str, object]:
    """The sixth figure."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "model.conf").write_text(PLAIN_MODEL)
        with (directory / "policy.csv").open("w") as file:
            file.writelines(row + "\n" for row in plain_rows(COMPANIES))
        before = memory_mb()
        gc.disable()
        started = time.perf_counter()
        files, _ = read_directory(directory)
        if files is None:
            raise SystemExit("the generated directory cannot be read")
        read = time.perf_counter()
        bundle, _ = parse_bundle(files, "bench")
        if bundle is None:
            raise SystemExit("the generated bundle is not valid")
        del files
        parsed = time.perf_counter()
        snapshot, _ = compile_bundle(bundle)
        if snapshot is None:
            raise SystemExit("the generated bundle does not compile")
        decider = Decider(snapshot)
        compiled = time.perf_counter()
        settle()
        gc.enable()
        done = time.perf_counter()
    assert decider is not None
    return {
        "read_s": read - started,
        "parse_s": parsed - read,
        "compile_s": compiled - parsed,
        "settle_s": done - compiled,
        "total_s": done - started,
        "memory_mb": memory_mb(),
        "before_mb": before,
        "peak_mb": peak_memory_mb(),
    }


def grants_text() -> str:
    """A policy file of 200 roles with 50 grants each, one action a grant, in the style people write."""
    lines = ["roles:"]
    for role in range(ROLES):
        lines += [f"  ROLE_{role}:", f"    description: Role number {role}", "    assigned: company", "    grants:"]
        for number in range(GRANTS):
            scope = "own" if number % 3 == 0 else "company"
            lines.append(f"      - {{object: type{number}, actions: [read], scope: {scope}}}")
    return "\n".join(lines) + "\n"


def yaml() -> dict[str, object]:
    """The seventh figure: from bytes to rules, each with file, line and column."""
    types = "".join(f"  type{number}: {{actions: [read, update]}}\n" for number in range(GRANTS))
    files = {
        "model.conf": BASIC.encode(),
        "manifest.yaml": f"name: bench\nschema_version: 1\nobject_types:\n{types}".encode(),
        "roles.yaml": grants_text().encode(),
    }
    taken: list[float] = []
    grants = 0
    for _ in range(5):
        started = time.perf_counter()
        bundle, diagnostics = parse_bundle(files, "bench")
        taken.append(time.perf_counter() - started)
        if bundle is None:
            raise SystemExit(f"the generated bundle is not valid: {diagnostics[:3]}")
        grants = len(bundle.tables["p"])
    return {"grants": grants, "median_s": sorted(taken)[2], "first_s": taken[0]}


SCENARIOS = {"csv": csv, "yaml": yaml}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
