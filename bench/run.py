"""`make bench`: every figure against its target, each scenario in a fresh process, results as a Markdown table."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

SCENARIOS = (
    ("bench.decisions", "plain"),
    ("bench.decisions", "standard"),
    ("bench.decisions", "growth"),
    ("bench.decisions", "pycasbin"),
    ("bench.load", "csv"),
    ("bench.load", "yaml"),
)


def run(module: str, scenario: str) -> dict[str, Any]:
    """The result of one scenario."""
    print(f"running {scenario} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", module, scenario],
        check=True,
        capture_output=True,
        text=True,
        timeout=900,
        cwd=Path(__file__).parent.parent,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def processor() -> str:
    """The processor's name, as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> None:
    """Run all and print the table."""
    results = {scenario: run(module, scenario) for module, scenario in SCENARIOS}
    plain, standard, growth = results["plain"], results["standard"], results["growth"]
    judge, csv, yaml = results["pycasbin"], results["csv"], results["yaml"]
    hot, uniform = plain["thousand_subjects"], plain["uniform"]
    rows = (
        ("figure", "target", "measured"),
        ("---", "---", "---"),
        (
            "decision in process, plain RBAC with domains, 1 M rules and assignments, 10,000 companies, 1,000 subjects",
            "median ≤ 2 µs, p99 ≤ 6 µs",
            f"median {hot['median_us']:.2f} µs, p99 {hot['p99_us']:.2f} µs",
        ),
        (
            f"the same, standard model with the default bundle's roles ({standard['assignments']:,} assignments)",
            "median ≤ 2 µs",
            f"median {standard['median_us']:.2f} µs, p99 {standard['p99_us']:.2f} µs",
        ),
        (
            f"plain model, subjects drawn from the whole million ({uniform['requests']:,} requests)",
            "median ≤ 5 µs, no pause over 20 ms",
            f"median {uniform['median_us']:.2f} µs, longest {uniform['max_ms']:.1f} ms",
        ),
        (
            "growth of the median from 1 k to 1 M rules, same requests",
            "≤ 1.3×",
            f"{growth['ratio']:.2f}× ({growth['small_median_us']:.2f} → {growth['large_median_us']:.2f} µs)",
        ),
        (
            "against pycasbin's Enforcer at 9 k rules, same requests",
            "≥ 10,000×",
            f"{judge['ratio']:,.0f}× ({judge['pycasbin_median_ms']:.1f} ms / {judge['median_us']:.2f} µs)",
        ),
        (
            "load and compile that million from CSV, memory after it",
            "≤ 15 s, ≤ 800 MB",
            f"{csv['total_s']:.1f} s, {csv['memory_mb']:.0f} MB (peak {csv['peak_mb']:.0f} MB)",
        ),
        (
            f"load of {yaml['grants']:,} YAML grants with their places",
            "≤ 1 s",
            f"{yaml['median_s']:.2f} s",
        ),
    )
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(f"\n{processor()}, Python {platform.python_version()}")
    print("\n```json\n" + json.dumps(results, indent=1) + "\n```", file=sys.stderr)


if __name__ == "__main__":
    main()
