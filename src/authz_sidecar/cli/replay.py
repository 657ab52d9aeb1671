"""`authz-sidecar replay`: what another policy would have decided of what was logged."""

import json
from contextlib import ExitStack
from pathlib import Path

import click

from authz_sidecar.cli.directory import directory_option, open_store
from authz_sidecar.cli.log_reading import read_logs, require_decisions, require_logs
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.replay_grounds import LoggedPolicies, PresentIdentities
from authz_sidecar.cli.side import require_side
from authz_sidecar.cli.terminal import Terminal, end
from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.identified_requests import IdentifiedRequests, LoggedPolicy
from authz_sidecar.review.logged_requests import LogReader
from authz_sidecar.review.replay import Replay
from authz_sidecar.review.report.replay import NAME_THE_DIRECTORY, replay_markdown, replay_object, replay_text

CHANGES = 1

EXAMPLES = """\b
Examples:
  authz-sidecar replay /var/log/authz/decisions.*.jsonl --against origin/main
  authz-sidecar replay decisions.jsonl.gz --against ./candidate --format markdown
  authz-sidecar replay decisions.jsonl --against origin/main --directory directory.db
  kubectl logs POD --container authz-sidecar | authz-sidecar replay - --against HEAD
"""


@click.command(name="replay", epilog=EXAMPLES)
@click.argument("logs", metavar="LOG…", nargs=-1, required=True)
@click.option(
    "--against", metavar="REV|DIR", help="The policy that decides anew. Default: the one in `--policies` as it is."
)
@policies_option
@directory_option("The directory of the identities that the logged decisions were for.")
@format_option("text", "json", "markdown")
@color_option
def command(
    logs: tuple[str, ...], against: str | None, policies: Path, directory: str | None, form: str, color: str
) -> None:
    """Decide what the decision logs LOG… hold anew, under another policy, and show what would have changed.

    Logs are files, plain or compressed by gzip, in any order; `-` is standard input. The same request is decided once.
    Decisions that rest on a directory are made by the identities that it has now, where it is named. Exits 0 when no
    decision changes, 1 when some do, 2 when that cannot be told.
    """
    terminal = Terminal(color)
    require_logs(terminal, logs)
    compiled = require_side(terminal, against, policies)
    decider = Decider(compiled.snapshot)
    replay = Replay(compiled.snapshot)
    with ExitStack() as open_until_read:
        identified = None
        if directory is not None:
            store = open_until_read.enter_context(open_store(terminal, directory, migrate=False))
            known = LoggedPolicies(policies, {compiled.policy_version: LoggedPolicy.of(decider)})
            identified = IdentifiedRequests(decider, known, PresentIdentities(terminal, store))
        reader = LogReader(decider, identified=identified)
        progress = open_until_read.enter_context(Progress(terminal))
        for lines, torn in read_logs(terminal, logs, progress):
            for replayed in reader.read(lines, torn=torn):
                replay.add(replayed)
    report = replay.report(compiled.policy_version, reader.facts)
    require_decisions(terminal, reader.facts, NAME_THE_DIRECTORY)
    if form == "json":
        terminal.result((json.dumps(replay_object(report), indent=2),))
    else:
        terminal.text("\n".join(replay_markdown(report) if form == "markdown" else replay_text(report)))
    end(CHANGES if report.changed else 0)
