"""Broken gates for reading: findings of one gate together, how many gates there are, and requests in words."""

from collections.abc import Iterable

import msgspec

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.access.change import Kind
from authz_sidecar.review.gates.violation import Example, Violation
from authz_sidecar.review.report.wording import Name, Phrase, role_name
from authz_sidecar.values.diagnostic import Severity


class BrokenGate(msgspec.Struct, frozen=True):
    """A gate with all that breaks it."""

    gate: str
    severity: Severity
    message: str
    findings: tuple[Violation, ...]


def broken_gates(violations: Iterable[Violation]) -> tuple[BrokenGate, ...]:
    """The broken gates, in the order of their first findings. A gate that says other things on the two sides is two."""
    together: dict[tuple[str, Severity, str], list[Violation]] = {}
    for one in violations:
        together.setdefault((one.gate, one.severity, one.message), []).append(one)
    return tuple(BrokenGate(*key, tuple(findings)) for key, findings in together.items())


def gates_sentence(violations: Iterable[Violation], bundles: Iterable[Bundle | None]) -> str:
    """How many gates of the two sides are broken: `2 of 6 gates broken`, `all 6 gates kept`, `no gates`."""
    broken = len({one.gate for one in violations})
    # That gates are not changed is asked wherever there are some.
    asked = len({gate.id for bundle in bundles if bundle is not None for gate in bundle.gates} | {"gates.yaml"})
    if asked == 1 and not broken:
        return "no gates"
    if broken:
        return f"{broken:,} of {counted(asked, 'gate')} broken"
    return f"all {asked:,} gates kept"


def example_phrase(example: Example) -> Phrase:
    """A request in words: `ann may read pay:7 in acme, owned by bob`."""
    request = example.request
    who: Phrase = (Name(request.subject),)
    if example.kind is Kind.ROLE:
        who = ("somebody with the role ", Name(role_name(request.subject)))
    where: Phrase = (" in ", Name(request.company)) if request.company else (" on the platform",)
    owned: Phrase = ()
    if request.owner == request.subject:
        owned = (", its owner",)
    elif request.owner:
        owned = (", owned by ", Name(request.owner))
    section: Phrase = (f" (section {request.section})",) if request.section else ()
    may = " may " if example.allowed else " may not "
    what: Phrase = (Name(request.action), " ", Name(request.object)) if request.object else (Name(request.action),)
    return (*who, may, *what, *where, *owned, *section)
