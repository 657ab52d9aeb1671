"""`authz-sidecar unused`: grants that no logged decision needed."""

import json
import time
from pathlib import Path

import click

from authz_sidecar.bundle.wording import counted
from authz_sidecar.cli.instant import parse_instant, period_begin
from authz_sidecar.cli.loading import require_bundle
from authz_sidecar.cli.log_reading import read_logs, require_decisions, require_logs
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import WARNING, Terminal, end
from authz_sidecar.compile.compiler import with_searches
from authz_sidecar.review.grant_use import UseCounter
from authz_sidecar.review.logged_lines import LogFacts
from authz_sidecar.review.logged_requests import LogReader
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.grant_use import use_markdown, use_object, use_text
from authz_sidecar.review.report.log_facts import short_time
from authz_sidecar.values.instant import read_time, time_text

UNUSED = 1
# A log that covers less of the period than this is warned about.
ENOUGH = 0.9

EXAMPLES = """\b
Examples:
  authz-sidecar unused --log decisions.20260131T000000000000Z.0.jsonl --since 90d
  authz-sidecar unused --log today.jsonl --log yesterday.jsonl.gz --format markdown
"""


class SinceType(click.ParamType[float]):
    """`90d` (also `s`, `m`, `h` and `w`) or an RFC 3339 time, as seconds since 1970-01-01 UTC."""

    name = "PERIOD"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read `value`; fails as click does."""
        if isinstance(value, float):
            return value
        begin = period_begin(value)
        if begin is not None:
            return begin
        try:
            return parse_instant(value)
        except click.BadParameter:
            self.fail(
                f"`{value}` is neither a period such as `90d` nor a time such as `2026-01-31T12:00:00Z`", param, ctx
            )


@click.command(name="unused", epilog=EXAMPLES)
@click.option("--log", "logs", multiple=True, required=True, metavar="LOG", help="A decision log; further may follow.")
@click.argument("more", metavar="[LOG…]", nargs=-1)
@click.option(
    "--since", type=SinceType(), metavar="PERIOD", help="Only decisions of the last `90d`, or since an RFC 3339 time."
)
@policies_option
@format_option("text", "json", "markdown")
@color_option
def command(
    logs: tuple[str, ...], more: tuple[str, ...], since: float | None, policies: Path, form: str, color: str
) -> None:
    """Show the grants that no decision of the logs needed, by role.

    The logged requests are decided anew by the policy as it is; a grant that decides none of them is unused, and all
    that are unused can be taken away together without changing what is decided of any. Logs are files, plain or
    compressed by gzip; `-` is standard input. Exits 0 when every grant is used, 1 when some are not, 2 when that cannot
    be told.
    """
    terminal = Terminal(color)
    logs = (*logs, *more)
    require_logs(terminal, logs)
    compiled = require_bundle(terminal, policies)
    material = Material(compiled.bundle, with_searches(compiled.snapshot))
    begin = "" if since is None else time_text(since, "microseconds")
    reader = LogReader(material.decider, begin)
    counter = UseCounter(material)
    with Progress(terminal) as progress:
        for lines, torn in read_logs(terminal, logs, progress):
            for replayed in reader.read(lines, torn=torn):
                counter.add(replayed)
    facts = reader.facts
    require_decisions(terminal, facts)
    period, share = _covered(facts, since)
    if share < ENOUGH:
        terminal.note((("warning:", WARNING), f" the log covers {share:.0%} of the time that was asked for: {period}"))
    report = counter.report(compiled.policy_version, facts)
    if form == "json":
        asked = {"since": begin or None, "covered": round(share, 4)}
        terminal.result((json.dumps(use_object(report) | asked, indent=2),))
    else:
        terminal.text("\n".join((use_markdown if form == "markdown" else use_text)(report, period)))
    end(UNUSED if report.unused else 0)


def _covered(facts: LogFacts, since: float | None) -> tuple[str, float]:
    """From when to when the log tells, in words; and which share of the time since `since` that is."""
    covered = read_time(facts.last) - read_time(facts.first)
    words = f"{short_time(facts.first)} to {short_time(facts.last)}, lines on {counted(len(facts.days), 'day')}"
    if since is None:
        return words, 1.0
    asked = time.time() - since
    share = min(1.0, covered / asked) if asked > 0 else 1.0
    return f"{words}; {_days(covered)} of {_days(asked)} days", share


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:,.1f}".removesuffix(".0")
