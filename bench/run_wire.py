"""`make bench-wire`: the figures of the server against their targets, each scenario in a fresh process, as a table."""

import json
import platform
import sys
from typing import Any

from bench.run import processor, run

SCENARIOS = (
    ("bench.wire", "check"),
    ("bench.wire", "batch"),
    ("bench.wire", "peer"),
    ("bench.steadiness", "reload"),
    ("bench.steadiness", "pause"),
    ("bench.beside", "shadow"),
    ("bench.beside", "log"),
    ("bench.authentication", "wire"),
    ("bench.directory", "revocation"),
    ("bench.wire", "start"),
)
# Figure and target, by scenario.
FIGURES = {
    "check": ("Check over gRPC, one worker, against a bare grpcio echo of the same message, requests/s", "≥ 0.85×"),
    "batch": ("BatchCheck of 50 against Cerbos 0.51 CheckResources of 50, two workers, decisions/s", "≥ 5×"),
    "peer": ("Check against Cerbos CheckResources of one, two workers, decisions/s", "reported"),
    "reload": (
        "a bundle of 10 k rules replaced every 2 s under full load: p99 against p99 without",
        "≤ 3×, no failed and no wrong answer",
    ),
    "pause": ("longest pause while serving 1 M rules, a call every millisecond", "≤ 20 ms"),
    "shadow": ("the same policy as candidate in the shadow, every request, against none", "≤ 10 % of a Check"),
    "log": ("the decision log, everything in it, against none", "≤ 5 µs a decision"),
    "revocation": ("revoked key to the last allow, 20 sidecars on one PostgreSQL", "p99 ≤ 1 s"),
    "wire": ("Check with an API key against Check with a subject, one worker, requests/s", "≥ 0.85×"),
    "start": ("start to ready, and idle memory, default bundle, one worker", "≤ 0.6 s, ≤ 80 MB"),
}


def measured(scenario: str, result: dict[str, Any]) -> str:
    """The last column of the table."""
    if "skipped" in result:
        return f"not measured: {result['skipped']}"
    match scenario:
        case "check" | "batch" | "peer":
            low, high = min(result["ratios"]), max(result["ratios"])
            rates = f"{result['ours_per_s']:,.0f} / {result['theirs_per_s']:,.0f}"
            text = f"{result['ratio']:.2f}× ({low:.2f} to {high:.2f}; {rates})"
            return text + (f"; processor time {1 / result['processor_ratio']:.2f}×" if scenario == "check" else "")
        case "reload":
            return (
                f"{result['ratio']:.2f}× ({result['p99_during_ms']:.1f} / {result['p99_without_ms']:.1f} ms; seen by "
                f"h2load {result['h2load_ratio']:.2f}×), {result['reloads']} reloads, {result['answers_verified']:,} "
                f"answers verified, {result['failed']} failed, {result['wrong']} wrong"
            )
        case "pause":
            return (
                f"{result['longest_ms']:.1f} ms of {result['calls']:,} calls, p99 {result['p99_ms']:.2f} ms "
                f"(an idle echo beside it: {result['echo_longest_ms']:.1f} ms, p99 {result['echo_p99_ms']:.2f} ms)"
            )
        case "revocation":
            times = [f"{name} {value:.0f} ms" for name, value in result["last_ms"].items()]
            return f"{', '.join(times)} ({result['revocations']} revocations)"
        case "wire":
            low, high = min(result["ratios"]), max(result["ratios"])
            return (
                f"{result['ratio']:.2f}× ({low:.2f} to {high:.2f}; {result['key_per_s']:,.0f} / "
                f"{result['subject_per_s']:,.0f}); processor time {1 / result['processor_ratio']:.2f}×, "
                f"{result['processor_us']:+.1f} µs"
            )
        case "shadow" | "log":
            return "; ".join([_beside(name, result[name]) for name in ("check", "batch")])
    low, high = result["range_s"]
    memory = f"RSS {result['rss_mb']:.1f} MB, PSS {result['pss_mb']:.1f} MB"
    return f"{result['median_s']:.2f} ({low:.2f} to {high:.2f}) s, {memory}"


def _beside(name: str, result: dict[str, Any]) -> str:
    """What one kind of call costs with and without."""
    low, high = min(result["ratios"]), max(result["ratios"])
    what = "Check" if name == "check" else "BatchCheck of 50"
    return (
        f"{what} {result['ratio']:.2f}× ({low:.2f} to {high:.2f}), processor time {result['processor_ratio']:.2f}×, "
        f"{result['processor_us']:+.1f} µs a decision, {result['dropped']:,.0f} of "
        f"{result['done'] + result['dropped']:,.0f} dropped"
    )


def main() -> None:
    """Run all and print the table."""
    results = {scenario: run(module, scenario) for module, scenario in SCENARIOS}
    print("| figure | target | measured |\n| --- | --- | --- |")
    for scenario, (figure, target) in FIGURES.items():
        print(f"| {figure} | {target} | {measured(scenario, results[scenario])} |")
    print(f"\n{processor()}, Python {platform.python_version()}")
    print("\n```json\n" + json.dumps(results, indent=1) + "\n```", file=sys.stderr)


if __name__ == "__main__":
    main()
