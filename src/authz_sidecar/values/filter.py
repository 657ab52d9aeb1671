"""The question which objects a subject may act on, and its answer: a filter that a database can apply."""

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from authz_sidecar.values.decision import Reason
from authz_sidecar.values.identity import Identity
from authz_sidecar.values.request import EMPTY, Request, Violation, build_request
from authz_sidecar.values.texts import ANY, Texts


class FilterRequest(msgspec.Struct, frozen=True):
    """A question: which objects of a type may the subject do the action to?

    Build it with `build_filter_request`. `request` holds what is asked, with an object that has a type and nothing
    else; with `narrowed` the question is about objects of `request.company` alone, else about those of any company.
    """

    request: Request
    narrowed: bool = False


def build_filter_request(
    subject: str,
    action: str,
    object_type: str,
    *,
    company: str | None = None,
    subject_attributes: Mapping[str, Any] = EMPTY,
    context: Mapping[str, Any] = EMPTY,
    time: float = 0.0,
    section: str = "",
    identity: Identity | None = None,
) -> tuple[FilterRequest | None, tuple[Violation, ...]]:
    """A checked question, or None with every violation of the limits, which are those of `build_request`.

    `company` None asks about objects of any company, "" about those at platform level.
    """
    request, violations = build_request(
        subject,
        action,
        type=object_type,
        company=company or "",
        subject_attributes=subject_attributes,
        context=context,
        time=time,
        section=section,
        identity=identity,
    )
    named = [
        Violation(found.field.removeprefix("object."), found.description.removeprefix("object."))
        for found in violations
    ]
    found = tuple(
        [Violation("object_type", f"object_{item.description}") if item.field == "type" else item for item in named]
    )
    if not object_type:
        found = (*found, Violation("object_type", "object_type is empty"))
    if request is None or found:
        return None, found
    return FilterRequest(request, company is not None), ()


class Clause(msgspec.Struct, frozen=True):
    """What a clause says about objects: an object matches if its company, id and owner are in these sets.

    `conditions` are what is left besides: facts about the object that the question does not hold. Where there are any,
    an object may match the sets and yet not the clause.
    """

    allows: bool
    company: Texts = ANY
    id: Texts = ANY
    owner: Texts = ANY
    conditions: tuple[str, ...] = ()

    def matches(self, company: str, id: str, owner: str) -> bool:
        """Whether an object is in the sets."""
        return company in self.company and id in self.id and owner in self.owner


class FilterKind(enum.IntEnum):
    """The shape of a filter, for callers that treat the simple ones apart; numbered as on the wire."""

    NONE = 1
    ALL = 2
    COMPANIES = 3
    OWN = 4
    IDS = 5
    MIXED = 6


class ObjectFilter(msgspec.Struct, frozen=True):
    """The objects that a subject may act on.

    The first clause that an object matches allows or denies it; what matches none is denied. `exact`: the filter passes
    just the objects that a check allows. Otherwise it passes more than those and never fewer, each has to be
    checked, and the `conditions` of clauses, and `left_out`, which denials could not be said as clauses, tell why.
    """

    kind: FilterKind
    clauses: tuple[Clause, ...]
    exact: bool
    reason: Reason
    left_out: tuple[str, ...] = ()
    detail: str = ""

    def passes(self, company: str, id: str, owner: str) -> bool:
        """Whether the filter passes an object."""
        for clause in self.clauses:
            if clause.matches(company, id, owner):
                return clause.allows
        return False


def no_objects(reason: Reason, detail: str = "") -> ObjectFilter:
    """The filter that passes nothing."""
    return ObjectFilter(FilterKind.NONE, (), True, reason, detail=detail)
