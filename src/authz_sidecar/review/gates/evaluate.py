"""Evaluating all gates of a change, or those of a policy as it is."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from authz_sidecar.bundle.files import GATES_FILE
from authz_sidecar.review.access.change import AccessDiff, Side
from authz_sidecar.review.gates.gates_file import GATES_FILE_KIND, Missing, find_changed_gates, unknown_names
from authz_sidecar.review.gates.registry import KINDS
from authz_sidecar.review.gates.scene import Asked, Scene
from authz_sidecar.review.gates.violation import Finding, ReviewFacts, Violation
from authz_sidecar.review.material import Material
from authz_sidecar.review.report.wording import Name, joined
from authz_sidecar.values.diagnostic import Severity
from authz_sidecar.values.span import Span

# So many findings of one gate are told; the rest is counted.
MAX_FINDINGS = 20


def evaluate_gates(
    base: Material | None,
    head: Material,
    facts: ReviewFacts,
    *,
    diff: AccessDiff | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Violation, ...]:
    """Every gate that the change from `base` to `head` breaks or cannot be shown to keep; none: it passes.

    The gates of both sides are asked, so that a change cannot be judged by its own gates alone; one that is the same on
    both is asked once. `diff` is the whole difference of access where that is known already. `progress` is told how
    many gates are done, of how many. Errors come first, then in the order of the files.
    """
    scene = Scene(base, head, facts, diff)
    asked = list(_gates(scene))
    found: list[Violation] = []
    for number, one in enumerate(asked):
        if progress is not None:
            progress(number, len(asked))
        found += _violations(one, KINDS[one.gate.kind].find(one))
    found += _built_in(scene)
    found += _unknown(scene)
    return _ordered(found)


def evaluate_state_gates(head: Material) -> tuple[Violation, ...]:
    """The gates of a policy that judge it as it is: all but those about changes. What counts only as a change
    (`only_gained`) needs something to compare with, too."""
    scene = Scene(None, head, None)
    found: list[Violation] = []
    for gate in head.bundle.gates:
        if KINDS[gate.kind].of_state and not getattr(gate.predicate, "only_gained", False):
            one = Asked(scene, gate, "head", head.bundle)
            found += _violations(one, KINDS[gate.kind].find(one))
    found += _unknown(scene)
    return _ordered(found)


def _gates(scene: Scene) -> Iterator[Asked]:
    """Every gate to ask. One that is the same on both sides is asked as that of the base, whose meaning is wider."""
    before = scene.base.bundle.gates if scene.base is not None else ()
    after = {gate.id: gate for gate in scene.head.bundle.gates}
    same: set[str] = set()
    if scene.base is not None:
        for gate in before:
            if after.get(gate.id) == gate:
                same.add(gate.id)
            yield Asked(scene, gate, "base", scene.base.bundle)
    for gate in scene.head.bundle.gates:
        if gate.id not in same:
            yield Asked(scene, gate, "head", scene.head.bundle)


def _violations(asked: Asked, findings: Iterable[Finding]) -> Iterator[Violation]:
    gate = asked.gate
    # A gate of both sides is shown at its place in the head, which is what a reviewer sees.
    side: Side = asked.side
    span = gate.span
    here = next((one for one in asked.scene.head.bundle.gates if one.id == gate.id and one == gate), None)
    if here is not None:
        side, span = "head", here.span
    everything = list({(finding.detail, finding.shown): finding for finding in findings}.values())
    for number, finding in enumerate(islice(everything, MAX_FINDINGS)):
        yield Violation(
            gate=gate.id,
            kind=gate.kind,
            severity=Severity(gate.severity),
            message=gate.message,
            detail=finding.detail,
            help=finding.help,
            span=span,
            side=side,
            shown=finding.shown,
            examples=finding.examples,
            lines=finding.lines,
            more=len(everything) - MAX_FINDINGS if number == MAX_FINDINGS - 1 and len(everything) > MAX_FINDINGS else 0,
        )


def _built_in(scene: Scene) -> Iterator[Violation]:
    after = scene.head.bundle.gates_file
    for finding in find_changed_gates(scene):
        yield Violation(
            gate=GATES_FILE,
            kind=GATES_FILE_KIND,
            severity=Severity.ERROR,
            message="a change of the gates is approved by who owns them",
            detail=finding.detail,
            help=finding.help,
            span=Span(GATES_FILE),
            side="head" if after is not None else "base",
            shown=finding.shown,
        )


def _unknown(scene: Scene) -> Iterator[Violation]:
    """Gates of a plain bundle about roles that it does not have: they could not be broken."""
    for gate, names in unknown_names(scene.head.bundle.gates, scene.head.bundle):
        yield Violation(
            gate=gate.id,
            kind=gate.kind,
            severity=Severity(gate.severity),
            message=gate.message,
            detail=("the gate names ", *joined([_named(one) for one in names]), ", which no rule or link has"),
            help="correct the name, or remove it",
            span=gate.span,
            side="head",
            shown=False,
        )


def _named(one: Missing) -> tuple[str | Name, ...]:
    return (f"the {one.noun} ", Name(one.name))


def _ordered(found: list[Violation]) -> tuple[Violation, ...]:
    """Each finding once: the gates of both sides may say the same, and then the head's place is shown."""
    kept: dict[tuple[object, ...], Violation] = {}
    for one in found:
        key = (one.gate, one.severity, one.message, one.detail)
        if key not in kept or (kept[key].side == "base" and one.side == "head"):
            kept[key] = one
    order = sorted(
        enumerate(kept.values()),
        key=lambda numbered: (numbered[1].severity is not Severity.ERROR, not numbered[1].shown, numbered[0]),
    )
    return tuple(one for _, one in order)
