"""`authz-sidecar who-can`: everybody who may do an action to an object."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from authz_sidecar.bundle.wording import counted
from authz_sidecar.cli.directory import directory_option
from authz_sidecar.cli.loading import CompiledBundle, require_bundle
from authz_sidecar.cli.option import color_option, format_option, policies_option
from authz_sidecar.cli.standing import (
    access_within,
    change_object,
    inexact_lines,
    inexact_object,
    note_undeclared,
    permission_lines,
    permissions,
    require_values,
)
from authz_sidecar.cli.terminal import ALLOW, DENY, FAINT, Line, Terminal, end, visible
from authz_sidecar.review.access.change import SELF, AccessDiff, Box, Change, Kind
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.report.wording import role_name
from authz_sidecar.values.texts import ANY, values_of

NOBODY = 1
# Identities that are named for one line; JSON has all.
MOST_NAMES = 20

EXAMPLES = """\b
Examples:
  authz-sidecar who-can delete folder:42 --company acme
  authz-sidecar who-can read payroll_record
"""


@click.command(name="who-can", epilog=EXAMPLES)
@click.argument("action")
@click.argument("object")
@click.option("--company", metavar="C", help="Only objects of this company; `''` for those of none.")
@click.option("--owner", metavar="O", help="Only objects of this owner; `''` for those of nobody.")
@policies_option
@directory_option("Count what identities of this directory hold, too: a file, or the URL of a database.")
@format_option("text", "json")
@color_option
def command(
    action: str,
    object: str,
    company: str | None,
    owner: str | None,
    policies: Path,
    directory: str | None,
    form: str,
    color: str,
) -> None:
    """Show everybody who may do ACTION to OBJECT (`type:id`, or `type` for objects of that type), and by which rules.

    The answer is complete: roles with what their holders may do, then every identity that the policies name, and
    anybody else if that matters. Exits 0 when somebody may, 1 when nobody may.
    """
    terminal = Terminal(color)
    kind, colon, id = object.partition(":")
    require_values(terminal, {"action": action, "object type": kind}, {"id": id, "company": company, "owner": owner})
    compiled = require_bundle(terminal, policies, directory)
    note_undeclared(terminal, compiled, kind, action)
    box = Box(
        company=ANY if company is None else values_of([company]),
        type=values_of([kind]),
        id=values_of([id]) if colon else ANY,
        action=values_of([action]),
        owner=ANY if owner is None else values_of([owner, SELF]),
    )
    found = access_within(terminal, compiled, Region(box))
    if form == "json":
        places = compiled.places
        shown = {
            "action": action,
            "object": object,
            "policy_version": compiled.policy_version,
            "roles": [change_object(change, places) for change in found.roles],
            "identities": [change_object(change, places) for change in found.identities],
            "inexact": [inexact_object(part, places) for part in found.inexact],
        }
        terminal.result((json.dumps(shown, indent=2),))
    else:
        terminal.result(*_lines(found, compiled))
    end(0 if found.roles or found.identities or found.inexact else NOBODY)


def _lines(found: AccessDiff, compiled: CompiledBundle) -> Iterator[Line]:
    places = compiled.places
    if not (found.roles or found.identities or found.inexact):
        yield (("nobody may", DENY),)
        return
    for role, changes in _by_subject(found.roles).items():
        yield (("role ", FAINT), (visible(role_name(role)), ALLOW))
        yield from permission_lines(permissions(changes, compiled), places)
    by_access: dict[tuple[Box, ...], list[str]] = {}
    own = _by_subject([change for change in found.identities if change.kind is Kind.IDENTITY])
    for identity, changes in own.items():
        by_access.setdefault(tuple(change.box for change in changes), []).append(identity)
    for identities in by_access.values():
        names = ", ".join(map(visible, identities[:MOST_NAMES]))
        more = f" and {len(identities) - MOST_NAMES:,} more" if len(identities) > MOST_NAMES else ""
        yield ((f"{counted(len(identities), 'identity', 'identities')}: ", FAINT), (names, ALLOW), more)
        yield from permission_lines(permissions(own[identities[0]], compiled), places)
    anyone = [change for change in found.identities if change.kind is Kind.ANYONE]
    if anyone:
        yield (("anybody whom the policies do not name", DENY),)
        yield from permission_lines(permissions(anyone, compiled), places)
    yield from inexact_lines(found.inexact, places)


def _by_subject(changes: tuple[Change, ...] | list[Change]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for change in changes:
        for subject in change.subjects:
            found.setdefault(subject, []).append(msgspec.structs.replace(change, subjects=(subject,)))
    return dict(sorted(found.items()))
