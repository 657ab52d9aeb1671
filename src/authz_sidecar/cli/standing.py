"""The access that a policy gives, for `who-can` and `what-can`: asked of a region, told as lines."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from authz_sidecar.cli.loading import CompiledBundle
from authz_sidecar.cli.place import Places
from authz_sidecar.cli.progress import Progress
from authz_sidecar.cli.terminal import FAINT, PLACE, WARNING, Line, Terminal, visible
from authz_sidecar.review.access.change import AccessDiff, Change, Inexact
from authz_sidecar.review.access.diff import diff_access
from authz_sidecar.review.access.region import Region
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.access_json import box_object
from authz_sidecar.review.report.permission import Permission, Vocabulary, permissions_of
from authz_sidecar.review.report.wording import plain_phrase

# Places of rules that are named for one line.
MOST_PLACES = 3


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
