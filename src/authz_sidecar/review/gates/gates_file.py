"""What is always asked: a change cannot weaken the gates that it is judged by.

Another `gates.yaml` (or none) needs the approval that the base's own asks for in `owners`, or of anybody where it names
nobody. So does whatever takes a gate's meaning away without touching the file: a name in a gate of the base that the
head no longer has, a data domain that no longer covers what it did, other declarations than YAML ones. Comments and the
order of gates mean nothing. The first `gates.yaml` of a repository needs nobody's approval.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.gates import (
    ChangesOf,
    Duty,
    Gate,
    GatesFile,
    MustStayAllowed,
    MustStayDenied,
    Requests,
    matches,
    requests_of,
)
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.review.gates.approval import APPROVE, is_approved, missing_phrase
from authz_sidecar.review.gates.names import any_matches, pairs_of, role_namer
from authz_sidecar.review.gates.scene import Scene
from authz_sidecar.review.gates.violation import Finding
from authz_sidecar.review.report.wording import Name, Phrase, joined, names_phrase
from authz_sidecar.values.request import ROLE_PREFIX

GATES_FILE_KIND = "gates_file"


class Missing(NamedTuple):
    """A name in a gate that its subject matter no longer answers to."""

    noun: str
    name: str


def find_changed_gates(scene: Scene) -> Iterator[Finding]:
    """That gates change, or lose their meaning, without the approval of who owns them."""
    base = scene.base
    if base is None or base.bundle.gates_file is None:
        return
    before, after = base.bundle.gates_file, scene.head.bundle.gates_file
    if is_approved(before.owners, scene.facts):
        return
    missing = missing_phrase(before.owners, scene.facts)
    changes = list(_differences(before, after))
    if changes:
        yield Finding(detail=("`gates.yaml` changes (", *joined(changes), "), and ", *missing), help=APPROVE)
    for gate in before.gates:
        names = missing_names(gate, base.bundle, scene.head.bundle)
        if names:
            said = joined([(f"the {one.noun} ", Name(one.name)) for one in names])
            yield Finding(
                detail=("the gate ", Name(gate.id), " names ", *said, ", which the head no longer has, and ", *missing),
                help=APPROVE,
                shown=False,
            )
        lost = _lost_pairs(gate, base.bundle, scene.head.bundle)
        if lost:
            said = joined([(Name(f"{kind}:{action}"),) for kind, action in sorted(lost)[:10]])
            yield Finding(
                detail=(
                    "a data domain that the gate ",
                    Name(gate.id),
                    " names no longer covers ",
                    *said,
                    ", and ",
                    *missing,
                ),
                help=APPROVE,
            )


def _differences(before: GatesFile, after: GatesFile | None) -> Iterator[Phrase]:
    if after is None:
        yield ("the file is removed",)
        return
    old = {gate.id: gate for gate in before.gates}
    new = {gate.id: gate for gate in after.gates}
    removed = [name for name in old if name not in new]
    added = [name for name in new if name not in old]
    changed = [name for name in old if name in new and old[name] != new[name]]
    for names, word in ((removed, "removed"), (changed, "changed"), (added, "added")):
        if names:
            yield (*names_phrase(names), f" {word}")
    if before.owners != after.owners:
        yield ("the owners changed",)


def missing_names(gate: Gate, own: Bundle, other: Bundle) -> list[Missing]:
    """The names in `gate`, a gate of `own`, that say whom or what it keeps within bounds and that `other` does not
    have. Names of who may (the roles of `only_roles`, exceptions) are not among them: without those it only keeps out
    more. In plain Casbin object types and actions are free, and only roles are known."""
    if own.form != other.form:
        # Rules write the names of roles another way there, and a gate would look for those that nobody has.
        return [Missing("kind of bundle", own.form)]
    found: dict[Missing, None] = {}
    for part in requests_of(gate):
        if own.form == "yaml":
            found.update(dict.fromkeys(_missing_vocabulary(part, own, other)))
    parts: tuple[Definition, ...] = (gate.predicate, *requests_of(gate))
    for one in parts:
        found.update(dict.fromkeys(_missing_roles(one, own, other)))
    return list(found)


def _missing_vocabulary(part: Requests, own: Bundle, other: Bundle) -> Iterator[Missing]:
    for name in part.data_domains:
        if name != "*" and not any(matches(name, one) for one in other.data_domains):
            yield Missing("data domain", name)
    types, known = own.manifest.known_types, other.manifest.known_types
    for name in part.objects:
        if name != "*":
            for kind in types:
                if matches(name, kind) and kind not in known:
                    yield Missing("object type", kind)
    # An action that one type lost, by whatever other name it goes on, is no longer covered for that type.
    about = {kind for kind in types if any_matches(part.objects, kind)} if part.objects else set(types)
    if part.data_domains:
        domain = {kind for kind, _ in pairs_of(part.data_domains, own)}
        about = (about | domain) if part.objects else domain
    for kind in sorted(about & known.keys()):
        for action in types[kind].actions:
            named = any(name != "*" and matches(name, action) for name in part.actions)
            if named and action not in known[kind].actions:
                yield Missing("action", f"{kind}:{action}")


def _missing_roles(part: Definition, own: Bundle, other: Bundle) -> Iterator[Missing]:
    if not isinstance(part, Duty | ChangesOf | MustStayAllowed | MustStayDenied):
        return
    before, after = _roles(own), _roles(other)
    written, theirs = role_namer(own), role_namer(other)
    for name in part.roles:
        if name == "*":
            continue
        for role in before:
            if matches(written(name), role) and role not in after and theirs(role) not in after:
                yield Missing("role", role.removeprefix(ROLE_PREFIX))
        if not name.endswith("*") and written(name) not in before | after:
            yield Missing("role", name)


def _roles(bundle: Bundle) -> set[str]:
    """The roles of a bundle as rules write them: of a plain one every name that a rule or a link has where a role may
    stand."""
    if bundle.form == "yaml":
        return {ROLE_PREFIX + name for name in bundle.roles}
    found: set[str] = set()
    for name in bundle.model.roles:
        found.update(bundle.tables[name].columns[1])
    for section in bundle.model.sections.values():
        for column in bundle.tables[section.ptype].columns:
            found.update(column)
    return found


def _lost_pairs(gate: Gate, base: Bundle, head: Bundle) -> set[tuple[str, str]]:
    """What the data domains of a gate cover at the base and not at the head."""
    lost: set[tuple[str, str]] = set()
    if base.form != "yaml" or head.form != "yaml":
        return lost
    for part in requests_of(gate):
        if part.data_domains:
            # What is declared no more is lost too: it may go on under another name, outside of the data domain.
            gone = pairs_of(part.data_domains, base) - pairs_of(part.data_domains, head)
            lost |= {(kind, action) for kind, action in gone if not any_matches(part.objects, kind)}
    return lost


def unknown_names(gates: Iterable[Gate], bundle: Bundle) -> Iterator[tuple[Gate, list[Missing]]]:
    """The gates of a plain bundle that name roles which its rules and links do not have, each with those."""
    if bundle.form == "casbin":
        for gate in gates:
            names = missing_names(gate, bundle, bundle)
            if names:
                yield gate, names
