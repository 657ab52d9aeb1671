"""The access that a policy gives, for `who-can` and `what-can`: asked of a region, told as lines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.cli.loading import CompiledBundle
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import FAINT, PLACE, WARNING, CommandError, Line, Terminal, visible
from authz_sidecar.review.access.change import AccessDiff, Change, Inexact
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.access_json import box_object
from authz_sidecar.review.report.permission import Permission, Vocabulary, permissions_of
from authz_sidecar.review.report.wording import plain_phrase
from authz_sidecar.values.request import value_problem

# Places of rules that are named for one line.
MOST_PLACES = 3


def require_values(terminal: Terminal, named: Mapping[str, str], optional: Mapping[str, str | None]) -> None:
    """Raise CommandError for what no request can hold: each a noun and the value that was given for it. Those that are
    `named` are not empty either, and no wildcard, which is a text like any other in a request."""
    problems: list[tuple[str, str]] = []
    for noun, value in (*named.items(), *optional.items()):
        problem = value_problem(value or "") or ("is empty" if noun in named and not value else "")
        if problem:
            problems.append((f"the {noun} {problem}", "give it as requests spell it"))
        elif noun in named and value == "*":
            problems.append((f"the {noun} is `*`, which stands for nothing in a request", "see `authz-sidecar matrix`"))
    if problems:
        raise CommandError(terminal, *problems)


def note_undeclared(terminal: Terminal, compiled: CompiledBundle, kind: str, action: str) -> None:
    """Say of a type or action that the manifest of a YAML bundle does not declare that it does not."""
    types = compiled.bundle.manifest.known_types
    if compiled.bundle.form != "yaml":
        return
    if kind not in types:
        what, name, known = f"object type {quote(kind)}", kind, list(types)
    elif action not in types[kind].actions:
        what, name, known = f"action {quote(action)} of {quote(kind)}", action, types[kind].actions
    else:
        return
    guess = suggest(name, known, f"there are {listed(known, 'and')}")
    terminal.note((("warning:", WARNING), visible(f" the bundle declares no {what}: {guess}")))


def access_within(terminal: Terminal, compiled: CompiledBundle, region: Region) -> AccessDiff:
    """All access that the policy gives in a region, as what is gained over no policy at all."""
    with Progress(terminal) as progress:
        progress.step("looking at access")
        return diff_access(None, Material(compiled.bundle, compiled.snapshot), within=region)


def permissions(changes: Sequence[Change], compiled: CompiledBundle) -> tuple[Permission, ...]:
    """What some changes say, in the fewest lines."""
    return permissions_of([(change.box, change.causes) for change in changes], Vocabulary(compiled.bundle))


def permission_lines(found: Sequence[Permission], places: Places) -> Iterator[Line]:
    """A line for each permission, with the places of the rules that give it."""
    for permission in found:
        spans = list(dict.fromkeys(cause.rule.span for cause in permission.causes))
        shown = ", ".join(visible(places.show(span)) for span in spans[:MOST_PLACES])
        more = f" and {len(spans) - MOST_PLACES} more" if len(spans) > MOST_PLACES else ""
        yield (f"  {plain_phrase(permission.phrase())}", (f"  {shown}{more}" if shown else "", FAINT))


def inexact_lines(found: Sequence[Inexact], places: Places) -> Iterator[Line]:
    """What cannot be listed, and the rules that decide there."""
    for part in found:
        yield (("not exact here:", WARNING), f" {visible(part.why)}")
        for rule in part.responsible[:MOST_PLACES]:
            yield (f"  {visible(str(rule))}", (f"  {visible(places.show(rule.span))}", PLACE))
        if len(part.responsible) > MOST_PLACES:
            yield ((f"  … and {len(part.responsible) - MOST_PLACES:,} more rules", FAINT),)


def change_object(change: Change, places: Places) -> dict[str, Any]:
    """One piece of access for programs."""
    return {
        "kind": change.kind.value,
        "subjects": list(change.subjects),
        "roles": list(change.roles),
        "requests": msgspec.to_builtins(box_object(change.box)),
        "rules": [
            {
                "file": places.path(cause.rule.span.file),
                "line": cause.rule.span.line,
                "rule": [cause.rule.ptype, *cause.rule.values],
            }
            for cause in change.causes
        ],
    }


def inexact_object(part: Inexact, places: Places) -> dict[str, Any]:
    """A part that cannot be listed, for programs."""
    return {
        "why": part.why,
        "subjects": list(part.subjects),
        "requests": msgspec.to_builtins(box_object(part.box)),
        "rules": [
            {"file": places.path(rule.span.file), "line": rule.span.line, "rule": [rule.ptype, *rule.values]}
            for rule in part.responsible
        ],
    }
