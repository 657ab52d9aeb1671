"""The shapes of `gates.yaml`: what a change of the policies may never do, as predicates over whole sets of requests.

A gate is one of a closed set of kinds, each a definition below; there is no expression language. `gate_names` checks
what gates name against the bundle, and `review.gates` evaluates them. Names in gates may end with `*`, which stands for
every name that begins so.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from authz_sidecar.bundle.yaml_definition import (
    NAMES_OR_NONE_PATTERN,
    NAMES_PATTERN,
    SECTION_PATTERN,
    Definition,
    Given,
    Name,
)
from authz_sidecar.values.request import value_problem

MIN_JUSTIFICATION = 20


def _check_text(value: str) -> str:
    problem = value_problem(value.removesuffix("*"))
    if problem:
        raise PydanticCustomError("field-value", "the name {problem}", {"problem": problem})
    return value


def _check_line(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("field-value", "the text is empty", {"help": "say what the gate is for"})
    if "\n" in value.strip():
        raise PydanticCustomError(
            "field-value",
            "the message has more than one line",
            {"help": "keep it to one line; what needs more words is `description`"},
        )
    return value.strip()


Names: TypeAlias = Annotated[str, Field(pattern=NAMES_PATTERN), AfterValidator(_check_text)]
NamesOrNone: TypeAlias = Annotated[str, Field(pattern=NAMES_OR_NONE_PATTERN), AfterValidator(_check_text)]
Line: TypeAlias = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_line)]


class Approval(Definition):
    """Whose approval counts, and how many of them it takes. Names are compared with those of `--approved-by`."""

    by: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(min_length=1)
    """Names of people or groups, as the review system gives them to `--approved-by`."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """How many of them must approve."""
    all: bool = False
    """Whether every one of them must approve."""

    @model_validator(mode="after")
    def _can_be_met(self) -> "Approval":
        count = len(set(self.by))
        if self.at_least > count:
            raise PydanticCustomError(
                "field-value",
                "the approval of {wanted} is wanted, of {count} that are named",
                {"wanted": self.at_least, "count": count, "help": "name more in `by`, or lower `at_least`"},
            )
        return self

    @property
    def needed(self) -> int:
        """How many of the names must approve."""
        return len(set(self.by)) if self.all else self.at_least


class Requests(Definition):
    """Which requests a gate is about. What is left out stands for everything."""

    objects: list[Names] = Field(default=[], min_length=1)
    """Object types; `*` or nothing for every type."""
    data_domains: list[Names] = Field(default=[], min_length=1)
    """Data domains: their object types, with the actions that they stand for. Together with `objects`, both count."""
    ids: list[NamesOrNone] = Field(default=[], min_length=1)
    """Ids of objects; `""` for requests without an id. By default all."""
    actions: list[Names] = Field(default=[], min_length=1)
    """Actions. By default all; beside `data_domains` it narrows theirs."""
    companies: list[NamesOrNone] = Field(default=[], min_length=1)
    """Companies that objects belong to; `""` for objects of the platform. By default all, and the platform."""
    scope: Literal["any", "own", "others"] = "any"
    """`own`: objects whose owner is the subject; `others`: all but those; `any`: both."""
    section: str = Field(default="", pattern=SECTION_PATTERN)
    """The numbered sections of a plain Casbin model: `2` for `r2`, `p2`, `e2`, `m2`. By default all sections."""


class Subjects(Definition):
    """Who a gate is about."""

    roles: list[Names] = Field(default=[], min_length=1)
    """Roles: whoever holds one of them, and nothing else."""
    assigned: Given[Literal["platform", "company"]] = None
    """Of `roles`, only those that are assigned so; for YAML bundles."""
    identities: list[Names] = Field(default=[], min_length=1)
    """Identities, with all that they hold."""
    anyone: bool = False
    """Identities that the policies do not name."""
    except_roles: list[Names] = Field(default=[], min_length=1)
    """Roles that are left out; of an identity, what it may do by them alone is left out too."""
    except_identities: list[Names] = Field(default=[], min_length=1)
    """Identities that are left out."""


class NoCrossCompanyAccess(Requests):
    """Nobody reaches objects of a company in which they hold nothing."""

    except_roles: list[Names] = Field(default=[], min_length=1)
    """Roles that may reach every company: those of the platform."""
    except_identities: list[Names] = Field(default=[], min_length=1)
    """Identities that may."""
    only_gained: bool = False
    """Whether only access counts that the change adds; what there was before is then left alone."""


class OnlyRoles(Requests):
    """Nobody may do this except by these roles: no other role, no identity by grants of its own, not anyone."""

    roles: list[Names] = Field(min_length=1)
    """The roles that may. A role that inherits from one of them is another role."""
    identities: list[Names] = Field(default=[], min_length=1)
    """Identities that may, whatever they hold."""
    only_gained: bool = False
    """Whether only access counts that the change adds; what there was before is then left alone."""


class Duty(Requests):
    """One of the duties to be kept apart: roles, or requests that can be made."""

    roles: list[Names] = Field(default=[], min_length=1)
    """The duty is to hold one of these roles, inherited or not. Without it, to be allowed one of the requests."""

    @model_validator(mode="after")
    def _roles_or_requests(self) -> "Duty":
        about_requests = self.model_fields_set - {"roles"}
        if bool(self.roles) == bool(about_requests):
            problem = "both `roles` and requests" if self.roles else "neither `roles` nor requests"
            raise PydanticCustomError(
                "field-value",
                "the duty has {problem}",
                {"problem": problem, "help": "give `roles`, or `objects` or `data_domains` with `actions`"},
            )
        return self


class SeparationOfDuties(Definition):
    """Nobody may have two of these duties in the same company."""

    duties: list[Duty] = Field(min_length=2)
    """The duties. An identity, a role by itself and a group mapping may each have one of them at most."""
    across_companies: bool = False
    """Whether two duties in two different companies count too."""
    except_roles: list[Names] = Field(default=[], min_length=1)
    """Roles that may have several; what an identity has by them alone does not count for it."""
    except_identities: list[Names] = Field(default=[], min_length=1)
    """Identities that may have several."""


class MaxNewGrants(Requests):
    """A change gives at most so many new grants, or to so many identities."""

    grants: Given[Annotated[int, Field(ge=0)]] = None
    """The most (role, object type, action, scope) that may be gained. What identities gain otherwise than by a role
    that they hold counts with the identity in the role's place."""
    identities: Given[Annotated[int, Field(ge=0)]] = None
    """The most identities that may gain any access."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> "MaxNewGrants":
        if self.grants is None and self.identities is None:
            raise PydanticCustomError(
                "field-value",
                "the gate has neither `grants` nor `identities`",
                {"help": "give at least one of the two limits"},
            )
        return self


class ChangesOf(Requests):
    """Which changes of access a gate is about."""

    roles: list[Names] = Field(default=[], min_length=1)
    """Only changes of these roles: of what they may do, of who holds them, and whether they exist."""
    only_gained: bool = False
    """Whether only access that is gained counts, and none that is lost."""


class NeedsApproval(ChangesOf):
    """Changes of this access need somebody's approval, which only `--approved-by` gives."""

    approval: Approval
    """Whose approval, and of how many."""


class NeedsJustification(ChangesOf):
    """Changes of this access need a reason: a trailer `Justification: …` of one of the commits."""

    min_length: Annotated[int, Field(ge=1)] = MIN_JUSTIFICATION
    """The least number of characters of the reason."""


class MustStayAllowed(Requests, Subjects):
    """Each of these subjects may make every one of these requests."""

    @model_validator(mode="after")
    def _has_subjects(self) -> "MustStayAllowed":
        if not (self.roles or self.identities or self.anyone):
            raise PydanticCustomError(
                "field-value",
                "the gate says of nobody that they must stay allowed",
                {"help": "give `roles`, `identities` or `anyone: true`"},
            )
        return self


class MustStayDenied(Requests, Subjects):
    """None of these subjects may make any of these requests. Without `roles`, `identities` and `anyone`: nobody may."""

    only_gained: bool = False
    """Whether only access counts that the change adds; what there was before is then left alone."""

    @property
    def everybody(self) -> bool:
        """Whether it is about every role, every identity and anyone else."""
        return not (self.roles or self.identities or self.anyone)


Predicate: TypeAlias = (
    NoCrossCompanyAccess
    | OnlyRoles
    | SeparationOfDuties
    | MaxNewGrants
    | NeedsApproval
    | NeedsJustification
    | MustStayAllowed
    | MustStayDenied
)

KINDS = (
    "no_cross_company_access",
    "only_roles",
    "separation_of_duties",
    "max_new_grants",
    "needs_approval",
    "needs_justification",
    "must_stay_allowed",
    "must_stay_denied",
)


class Gate(Definition):
    """One gate: what it is called, how serious it is, and exactly one of the kinds."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]})

    id: Name
    """The gate's name, which no other has. It stays the same for as long as the gate means the same."""
    message: Line
    """What is told when the gate is broken, in one line."""
    severity: Literal["error", "warning"] = "error"
    """`error`: the change is refused; `warning`: it is told."""
    description: str = ""
    """Why there is the gate, for people."""
    no_cross_company_access: Given[NoCrossCompanyAccess] = None
    """Nobody reaches objects of a company in which they hold nothing."""
    only_roles: Given[OnlyRoles] = None
    """Nobody may do something except by certain roles."""
    separation_of_duties: Given[SeparationOfDuties] = None
    """Nobody may have two of several duties."""
    max_new_grants: Given[MaxNewGrants] = None
    """A change gives at most so many new grants."""
    needs_approval: Given[NeedsApproval] = None
    """Changes of some access need approval."""
    needs_justification: Given[NeedsJustification] = None
    """Changes of some access need a reason."""
    must_stay_allowed: Given[MustStayAllowed] = None
    """Somebody must be allowed something."""
    must_stay_denied: Given[MustStayDenied] = None
    """Somebody, or everybody, must be denied something."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Gate":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            problem = "none of the kinds" if not given else f"both `{given[0]}` and `{given[1]}`"
            raise PydanticCustomError(
                "field-value",
                "the gate has {problem}",
                {"problem": problem, "help": f"give exactly one of {', '.join(f'`{kind}`' for kind in KINDS)}"},
            )
        return self

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def predicate(self) -> Predicate:
        """What it demands."""
        predicate: Predicate = getattr(self, self.kind)
        return predicate


class GatesFile(Definition):
    """`gates.yaml`: what a change of the policies may never do."""

    owners: Given[Approval] = None
    """Who must approve changes of this file. Without it, a change of it needs the approval of anybody."""
    gates: list[Gate] = Field(default=[])
    """The gates."""


def requests_of(gate: Gate) -> Iterator[Requests]:
    """The parts of a gate that say which requests it is about: one for most kinds, one for each duty."""
    predicate = gate.predicate
    if isinstance(predicate, SeparationOfDuties):
        yield from predicate.duties
    else:
        yield predicate


def matches(pattern: str, name: str) -> bool:
    """Whether a name of a gate (`*` at its end: the beginning of one) stands for `name`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
