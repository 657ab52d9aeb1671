"""A broken gate, as a value, and what a review knows beside the policies."""

from collections.abc import Iterable

import msgspec

from authz_sidecar.review.access.change import Kind, Side
from authz_sidecar.review.report.wording import Phrase
from authz_sidecar.values.diagnostic import Severity
from authz_sidecar.values.request import Request
from authz_sidecar.values.rule import Rule
from authz_sidecar.values.span import Span


class ReviewFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a change beside its policies.

    `approved_by` are names of people or groups that approved it, from who runs the review: nothing that the change
    itself carries can add one. `justifications` are the reasons that its commits give.
    """

    approved_by: tuple[str, ...] = ()
    justifications: tuple[str, ...] = ()


class Line(msgspec.Struct, frozen=True):
    """A line of policy (a rule or a link) on one side."""

    side: Side
    rule: Rule


class Example(msgspec.Struct, frozen=True):
    """A request that shows it, and how `side` decides it.

    With `Kind.ROLE` the subject is whoever holds that role and nothing else, and `request.subject` the role's name as
    rules write it.
    """

    side: Side
    request: Request
    allowed: bool
    kind: Kind = Kind.IDENTITY


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A gate that a change breaks, or that it cannot be shown to keep (`shown` is False).

    `gate` is its id, `kind` which kind of gate (`gates_file` for what is always asked), `message` the gate's own
    words. `detail` says what breaks it and `help` what to do. `span` is the gate's place in the `gates.yaml` of `side`.
    `examples` are requests that show it, `lines` the lines of policy that cause it; each has at least one where there
    is one to name. `more` counts further findings of the same gate that are not told one by one.
    """

    gate: str
    kind: str
    severity: Severity
    message: str
    detail: Phrase
    help: str
    span: Span
    side: Side
    shown: bool = True
    examples: tuple[Example, ...] = ()
    lines: tuple[Line, ...] = ()
    more: int = 0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the evaluation of one gate found, before it is put under the gate's name."""

    detail: Phrase
    help: str
    shown: bool = True
    examples: tuple[Example, ...] = ()
    lines: tuple[Line, ...] = ()


def is_refused(violations: Iterable[Violation]) -> bool:
    """Whether a change may not be made: a gate of severity `error` is broken or cannot be shown to be kept."""
    return any(one.severity is Severity.ERROR for one in violations)
