"""A command that is run again whenever a bundle changes."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from authz_sidecar.cli.terminal import FAINT, Terminal
from authz_sidecar.sources.watch import Sight, look

INTERVAL_SECONDS = 0.3


def rerun_on_changes(terminal: Terminal, policies: Path, run: Callable[[], object]) -> None:
    """Run once, then again after each change of the bundle in `policies`, until interrupted. What keeps a run from
    answering, such as a bundle with an error, is shown and waited out."""
    seen: Sight | None = None
    while True:
        sight = _settled(policies, seen)
        if sight == seen:
            time.sleep(INTERVAL_SECONDS)
            continue
        if seen is not None:
            terminal.note(("",), ((f"{policies} changed at {time.strftime('%H:%M:%S')}", FAINT),))
        seen = sight
        try:
            run()
        except click.ClickException as error:
            error.show()
        terminal.note(((f"waiting for changes of {policies} (Ctrl-C ends)", FAINT),))


def _settled(policies: Path, seen: Sight | None) -> Sight:
    """A look; where it differs from what was `seen`, one that a second look confirms, so that a file is whole."""
    sight = look(policies)
    while sight != seen:
        time.sleep(INTERVAL_SECONDS / 3)
        again = look(policies)
        if again == sight:
            break
        sight = again
    return sight
