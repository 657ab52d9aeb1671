"""The shape of an access diff in JSON, which is also where its published schema comes from.

Stored format: `schema_version` is 1. Names may be added; a change of meaning or a removal needs a new number.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from authz_sidecar.review.access.change import Side as SideName


class TextSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set of texts: those that `values` lists or that begin with one of `prefixes`, less those that `except_values`
    lists or that begin with one of `except_prefixes`. The prefix "" is the beginning of every text."""

    any: Annotated[bool, Meta(description="Whether it is all texts, the empty one too.")]
    values: Annotated[tuple[str, ...], Meta(description="Texts in the set, sorted.")]
    prefixes: Annotated[tuple[str, ...], Meta(description="Beginnings: every text with one of them is in the set.")]
    except_values: Annotated[tuple[str, ...], Meta(description="Texts that are not in it after all.")]
    except_prefixes: Annotated[tuple[str, ...], Meta(description="Beginnings of texts that are not in it after all.")]


class OwnerSet(TextSet, frozen=True, kw_only=True):
    """A set of owners, as a set of texts; the subject itself is told apart from all of them."""

    subject: Annotated[
        bool,
        Meta(description="Whether objects that the subject owns are in the set; the other names say nothing of it."),
    ]


class RuleLine(msgspec.Struct, frozen=True, kw_only=True):
    """A rule or link, and where it is written."""

    ptype: Annotated[str, Meta(description="Its kind: `p`, `g` and so on.")]
    values: Annotated[tuple[str, ...], Meta(description="Its fields.")]
    via: Annotated[tuple[str, ...], Meta(description="The roles from which a role inherited it, nearest first.")]
    file: Annotated[str, Meta(description="The file, as a path from where the command ran.")]
    line: Annotated[int, Meta(description="The line, from 1; 0 for the file as a whole.")]
    column: Annotated[int, Meta(description="The column, from 1; 0 for the file as a whole.")]
    url: Annotated[str, Meta(description="A link to the line, where one can be made.")] = ""


class CauseLine(RuleLine, frozen=True, kw_only=True):
    """A rule or link that stands on one side only and makes a change."""

    side: Annotated[SideName, Meta(description="`head` where it was added, `base` where it was removed.")]


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """A set of requests of one subject: every one whose parts are all in these sets."""

    company: Annotated[TextSet, Meta(description="Companies of the object; the empty text is the platform.")]
    type: Annotated[TextSet, Meta(description="Types of the object.")]
    id: Annotated[TextSet, Meta(description="Ids of the object; the empty text is an object without id.")]
    action: Annotated[TextSet, Meta(description="Actions.")]
    owner: Annotated[OwnerSet, Meta(description="Owners of the object; the empty text is nobody.")]
    scope: Annotated[
        Literal["any", "own", "others", "some"],
        Meta(description="The owners in one word: anybody's objects, the subject's own, all but its own, or some."),
    ]
    section: Annotated[str, Meta(description="The numbered sections of a plain Casbin model, usually empty.")]


class ChangeLine(Requests, frozen=True, kw_only=True):
    """Requests whose decision changes in the same way for each of `subjects`."""

    effect: Annotated[
        Literal["gained", "lost"],
        Meta(description="`gained`: denied at base and allowed at head; `lost`: the reverse."),
    ]
    kind: Annotated[
        Literal["role", "identity", "anyone"],
        Meta(description="What the subjects are; `anyone` is every identity that the policies do not name."),
    ]
    subjects: Annotated[
        tuple[str, ...], Meta(description="Roles as rules write them (`role:CLERK`) or identities; empty for `anyone`.")
    ]
    sensitive: Annotated[bool, Meta(description="Whether the bundle marks what it is about as sensitive.")]
    causes: Annotated[tuple[CauseLine, ...], Meta(description="The lines of policy that make the change.")]
    holders: Annotated[
        tuple[str, ...], Meta(description="Of a role: the identities whose own access changes so because they hold it.")
    ]
    roles: Annotated[
        tuple[str, ...], Meta(description="Of an identity: the roles that it holds and that have the same change.")
    ]


class InexactPart(Requests, frozen=True, kw_only=True):
    """A set of requests that cannot be compared exactly: access may change there in ways that are not told."""

    why: Annotated[str, Meta(description="Why not.")]
    subjects: Annotated[tuple[str, ...], Meta(description="For whom; empty for everybody.")]
    responsible: Annotated[tuple[RuleLine, ...], Meta(description="The rules that make it so.")]
    added: Annotated[tuple[RuleLine, ...], Meta(description="Rules and links there that only head has.")]
    removed: Annotated[tuple[RuleLine, ...], Meta(description="Rules and links there that only base has.")]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How far what is gained, or what is lost, reaches."""

    roles: Annotated[int, Meta(description="How many roles change so.")]
    identities: Annotated[int, Meta(description="How many identities' own access changes so.")]
    people: Annotated[int, Meta(description="How many of them are known to be people.")]
    service_accounts: Annotated[int, Meta(description="How many of them are known to be service accounts.")]
    anyone: Annotated[bool, Meta(description="Whether it changes so for identities that the policies do not name.")]
    companies: Annotated[tuple[str, ...], Meta(description="The companies that the identities' changes are about.")]
    everywhere: Annotated[bool, Meta(description="Whether one of these changes is not kept to companies of a list.")]
    object_types: Annotated[tuple[str, ...], Meta(description="The sensitive object types that are touched.")]
    data_domains: Annotated[tuple[str, ...], Meta(description="The sensitive data domains that are touched.")]


class RenamedRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role that has another name at head, with the same access."""

    base: Annotated[str, Meta(description="Its name at base.")]
    head: Annotated[str, Meta(description="Its name at head.")]
    same: Annotated[bool, Meta(description="Whether whoever held it holds the new one, so that no decision changes.")]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The change in numbers."""

    headline: Annotated[str, Meta(description="One line for people.")]
    gained: Annotated[Totals, Meta(description="Of what is gained.")]
    lost: Annotated[Totals, Meta(description="Of what is lost.")]
    roles_added: Annotated[tuple[str, ...], Meta(description="Roles that only head defines.")]
    roles_removed: Annotated[tuple[str, ...], Meta(description="Roles that only base defines.")]
    roles_renamed: Annotated[tuple[RenamedRole, ...], Meta(description="Roles that have another name.")]
    rules_added: Annotated[int, Meta(description="Rules and links that only head has, whatever they decide.")]
    rules_removed: Annotated[int, Meta(description="Rules and links that only base has, whatever they decide.")]


class SideInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One side of the comparison."""

    name: Annotated[str, Meta(description="What the command line called it.")]
    policy_version: Annotated[str, Meta(description="The version of its policies; empty where it has none.")]


class GateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that shows how a gate is broken."""

    side: Annotated[SideName, Meta(description="The policies that decide it so.")]
    subject: Annotated[str, Meta(description="Who asks: an identity, or a role for whoever holds it.")]
    type: Annotated[str, Meta(description="The object's type.")]
    id: Annotated[str, Meta(description="The object's id.")]
    company: Annotated[str, Meta(description="The object's company.")]
    owner: Annotated[str, Meta(description="The object's owner.")]
    action: Annotated[str, Meta(description="The action.")]
    allowed: Annotated[bool, Meta(description="How it is decided.")]


class GateLine(msgspec.Struct, frozen=True, kw_only=True):
    """A gate that the change breaks, or that it cannot be shown to keep."""

    gate: Annotated[str, Meta(description="The gate's id.")]
    kind: Annotated[str, Meta(description="Which kind of gate.")]
    severity: Annotated[Literal["error", "warning"], Meta(description="How bad that is.")]
    message: Annotated[str, Meta(description="The gate's own words.")]
    detail: Annotated[str, Meta(description="What breaks it.")]
    help: Annotated[str, Meta(description="What to do about it.")]
    shown: Annotated[bool, Meta(description="False where it could only not be shown to be kept.")]
    side: Annotated[SideName, Meta(description="Whose `gates.yaml` has the gate.")]
    file: Annotated[str, Meta(description="The file of the gate.")]
    line: Annotated[int, Meta(description="The line of the gate, from 1.")]
    examples: Annotated[tuple[GateRequest, ...], Meta(description="Requests that show it.")]
    lines: Annotated[tuple[CauseLine, ...], Meta(description="The lines of policy that cause it.")]
    more: Annotated[int, Meta(description="How many more findings of this gate are not listed.")]


class AccessDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `authz-sidecar diff --format json` writes."""

    schema_version: Annotated[Literal[1], Meta(description="The version of this format: 1.")]
    changed: Annotated[bool, Meta(description="Whether any decision changes, or may change where it is not exact.")]
    exact: Annotated[bool, Meta(description="Whether `identities` is everything that changes; else see `inexact`.")]
    base: Annotated[SideInfo, Meta(description="What was compared with.")]
    head: Annotated[SideInfo, Meta(description="What was compared.")]
    summary: Annotated[Summary, Meta(description="The change in numbers.")]
    roles: Annotated[tuple[ChangeLine, ...], Meta(description="What changes for whoever holds a role.")]
    identities: Annotated[
        tuple[ChangeLine, ...], Meta(description="What changes for identities, whether or not a role explains it.")
    ]
    inexact: Annotated[tuple[InexactPart, ...], Meta(description="What cannot be compared exactly.")]
    gated: Annotated[bool, Meta(description="Whether gates were asked.")]
    gates: Annotated[tuple[GateLine, ...], Meta(description="Gates that the change breaks.")]
    notes: Annotated[tuple[str, ...], Meta(description="How the comparison was made, for people.")]
