"""`make bench`: every figure against its target, each scenario in a fresh process, results as a Markdown table."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.measure import median

# Module, scenario, runs. The number of runs stands before the first: a median of what was measured, no choice of it.
SCENARIOS = (
    ("bench.decisions", "plain", 5),
    ("bench.decisions", "standard", 5),
    ("bench.decisions", "growth", 1),
    ("bench.decisions", "pycasbin", 1),
    ("bench.filters", "types", 3),
    ("bench.filters", "shares", 3),
    ("bench.filters", "members", 3),
    ("bench.accounting", "check", 3),
    ("bench.authentication", "process", 3),
    ("bench.directory", "million", 1),
    ("bench.directory", "creates", 1),
    ("bench.load", "csv", 3),
    ("bench.load", "yaml", 1),
    ("bench.diff", "diff_definitions", 3),
    ("bench.diff", "diff_rows", 3),
    ("bench.replay", "replay", 1),
    ("bench.replay", "changed", 1),
    ("bench.lint", "roles", 1),
    ("bench.lint", "shadow", 1),
    ("bench.lint", "rows", 1),
)
FILTER_SUBJECTS = ("one_company", "hundred_companies", "platform")


def run(module: str, scenario: str) -> dict[str, Any]:
    """The result of one scenario."""
    print(f"running {scenario} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", module, scenario],
        check=True,
        stdout=subprocess.PIPE,
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


def spread(results: list[dict[str, float]], name: str) -> str:
    """The median of a value over all runs, and its range."""
    values = [result[name] for result in results]
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def diff_figures(results: list[dict[str, float]]) -> str:
    """The seconds of a diff, those with reading both sides, and the most memory."""
    return f"{spread(results, 'diff_s')} s; {spread(results, 'total_s')} s, {spread(results, 'peak_mb')} MB"


def million_figures(result: dict[str, float]) -> str:
    """What a million identities take to load and to keep, and decisions for them."""
    decisions = [
        f"median {result[f'{name}_median_us']:.2f} µs, p99 {result[f'{name}_p99_us']:.2f} µs"
        for name in ("thousand", "uniform")
    ]
    memory = f"{result['memory_mb']:.0f} MB (peak {result['peak_mb']:.0f} MB)"
    return "; ".join([f"{result['load_s']:.1f} s, {memory}", *decisions])


def main() -> None:
    """Run all and print the table."""
    results = {scenario: [run(module, scenario) for _ in range(runs)] for module, scenario, runs in SCENARIOS}
    million, creates = results["million"][0], results["creates"][0]
    growth, judge, yaml = results["growth"][0], results["pycasbin"][0], results["yaml"][0]
    hot = [result["thousand_subjects"] for result in results["plain"]]
    uniform = [result["uniform"] for result in results["plain"]]
    standard, csv = results["standard"], results["csv"]
    everywhere = [result["everywhere"] for result in results["types"]]
    narrowed = [result["narrowed"] for result in results["types"]]
    members = {name: [result[name] for result in results["members"]] for name in FILTER_SUBJECTS}
    first = median([result["median_us"] for result in hot])
    rows = (
        ("figure", "target", "measured"),
        ("---", "---", "---"),
        (
            "decision in process, plain RBAC with domains, 1 M rules and assignments, 10,000 companies, 1,000 subjects",
            "median ≤ 2 µs, p99 ≤ 6 µs",
            f"median {spread(hot, 'median_us')} µs, p99 {spread(hot, 'p99_us')} µs",
        ),
        (
            f"the same, standard model with the default bundle's roles ({standard[0]['assignments']:,} assignments)",
            "median ≤ 2 µs",
            f"median {spread(standard, 'median_us')} µs, p99 {spread(standard, 'p99_us')} µs",
        ),
        (
            f"plain model, subjects drawn from the whole million ({uniform[0]['requests']:,} requests)",
            "median ≤ 5 µs, no pause over 20 ms",
            f"median {spread(uniform, 'median_us')} µs, longest {spread(uniform, 'max_ms')} ms",
        ),
        (
            "growth of the median from 1 k to 1 M rules, same requests (the 1,000 subjects of 10 companies)",
            "≤ 1.3×",
            f"{growth['ratio']:.2f}× ({growth['small_median_us']:.2f} → {growth['large_median_us']:.2f} µs)",
        ),
        (
            "not a target: the first figure, whose subjects are spread over 1,000 companies, against 1 k rules",
            "",
            f"{first / growth['small_median_us']:.2f}×",
        ),
        (
            "against pycasbin's Enforcer at 9 k rules, same requests",
            "≥ 10,000×",
            f"{judge['ratio']:,.0f}× ({judge['pycasbin_median_ms']:.1f} ms / {judge['median_us']:.2f} µs)",
        ),
        (
            "FilterObjects in process, 1 M rules and assignments, rules about types, the same 1,000 subjects",
            "median ≤ 100 µs",
            f"median {spread(everywhere, 'median_us')} µs, p99 {spread(everywhere, 'p99_us')} µs",
        ),
        (
            "the same, narrowed to the subject's company",
            "median ≤ 100 µs",
            f"median {spread(narrowed, 'median_us')} µs, p99 {spread(narrowed, 'p99_us')} µs",
        ),
        (
            "the same, 1 M rules about single objects; ten ids in each answer",
            "median ≤ 100 µs",
            f"median {spread(results['shares'], 'median_us')} µs, p99 {spread(results['shares'], 'p99_us')} µs",
        ),
        (
            "the same, standard model, a million assignments: subjects of one company; of 100; of the platform",
            "median ≤ 100 µs for one",
            "median " + "; ".join([f"{spread(members[name], 'median_us')} µs" for name in FILTER_SUBJECTS]),
        ),
        (
            "not a target: what its counts add to a check; what a line of the decision log adds",
            "",
            f"{spread(results['check'], 'counts_us')} µs; {spread(results['check'], 'line_us')} µs",
        ),
        (
            "1 M identities with 3 roles each, SQLite: load at start, memory; decisions for 1,000 of them; for all",
            "≤ 30 s, ≤ 1.2 GB; as for bundle subjects",
            million_figures(million),
        ),
        (
            "identities made a second, each durable before the next (eight at once): SQLite; PostgreSQL",
            "",
            "; ".join(
                [
                    f"{creates[name]['per_s']:.0f} ({creates[name]['eight_at_once_per_s']:.0f})"
                    for name in ("sqlite", "postgresql")
                ]
            ),
        ),
        (
            "authentication in process by an API key; by an access token; an unknown key; a wrong secret",
            "reported",
            "; ".join(
                [f"{spread(results['process'], f'{name}_us')} µs" for name in ("key", "token", "unknown", "wrong")]
            ),
        ),
        (
            "not a target: Check with an API key against Check with a subject, without the wire",
            "",
            f"{spread(results['process'], 'ratio')}× ({spread(results['process'], 'check_key_us')} µs)",
        ),
        (
            "load and compile that million from CSV, memory after it",
            "≤ 15 s, ≤ 800 MB",
            f"{spread(csv, 'total_s')} s, {spread(csv, 'memory_mb')} MB",
        ),
        (
            f"load of {yaml['grants']:,} YAML grants with their places",
            "≤ 1 s",
            f"{yaml['median_s']:.2f} s (median of 5 loads)",
        ),
        (
            "access diff of two YAML bundles, 1,000 roles, 100 k rules, 10 k subjects, 1 % changed; with reading both",
            "≤ 5 s, ≤ 1 GB",
            diff_figures(results["diff_definitions"]),
        ),
        (
            "the same as rows of the standard model in CSV",
            "≤ 5 s, ≤ 1 GB",
            diff_figures(results["diff_rows"]),
        ),
        (
            "replay of 1 M logged decisions, nearly all different: by the same policy; by one that changes a third",
            "≤ 20 s",
            "; ".join(
                [
                    f"{results[name][0]['total_s']:.1f} s, {results[name][0]['peak_mb']:.0f} MB"
                    for name in ("replay", "changed")
                ]
            ),
        ),
        (
            "lint of 100 k rules, the whole command: 1,000 YAML roles; the same with 99 k findings; 100 k CSV rows",
            "≤ 10 s",
            "; ".join([f"{results[name][0]['seconds']:.1f} s" for name in ("roles", "shadow", "rows")]),
        ),
    )
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(f"\n{processor()}, Python {platform.python_version()}")
    print("\n```json\n" + json.dumps(results, indent=1) + "\n```", file=sys.stderr)


if __name__ == "__main__":
    main()
