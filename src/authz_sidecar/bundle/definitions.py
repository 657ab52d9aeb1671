"""The shapes of a bundle's YAML: what may stand in `manifest.yaml`, in policy files and in test files.

These models are the one source for reading (strict, nothing unknown), for the published JSON Schemas
(`schemas/`) and for the field descriptions that editors show. A definition keeps the YAML it was read from, so
that it, each field and each list item can be pointed at. What needs more than one definition to be judged is in
`checks`.

Stored format: `schema_version` is 1. Fields may be added with a default; a change of meaning or a removal needs
a new number and a reader for both.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from authz_sidecar.bundle.identity_rules import IdentitySettings
from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.bundle.yaml_definition import (
    SECTION_PATTERN,
    Abbreviated,
    Company,
    Definition,
    Given,
    Identity,
    Name,
    NamedKind,
    NameOrAny,
    ObjectId,
    Place,
    ReasonLabel,
    Scope,
    Value,
)
from authz_sidecar.values.span import Span

# --- manifest.yaml ---------------------------------------------------------------------------------------------


class ObjectType(Definition):
    """A type of object and what can be done to it."""

    actions: list[Name] = Field(min_length=1)
    """Every action that exists for this type; a grant can name no other."""
    sensitive: bool = False
    """Marks data whose grants deserve a second look; changes to them are pointed out in a review."""
    sensitive_actions: list[Name] = Field(default=[], min_length=1)
    """Actions that are to be granted by name and never through a wildcard; `lint` points out where they are not."""
    description: str = ""
    """What the type is, for people."""


class Limits(Definition):
    """Bounds that every assignment of the bundle keeps."""

    roles_per_identity: Given[Annotated[int, Field(ge=1)]] = None
    """How many roles one identity may hold."""
    companies_per_identity: Given[Annotated[int, Field(ge=1)]] = None
    """In how many companies one identity may hold roles."""


class Casbin(Definition):
    """What Casbin takes in code, for plain Casbin bundles: functions for role definitions."""

    role_matching: dict[str, str] = Field(default={})
    """Role definition to matching function: roles on the right of a link are patterns, as in `g2: keyMatch2`."""
    domain_matching: dict[str, str] = Field(default={})
    """Role definition to matching function: domains of links are patterns, as in `g: keyMatch`."""
    link_conditions: dict[str, str] = Field(default={})
    """Role definition with two link parameters to its condition; `timeMatch` is the only one and the default."""


class Lint(Definition):
    """How `lint` judges this bundle: which rules look at it, and how grave what they find is.

    Codes are checked by `lint` and not when the bundle is loaded: a server need not know the rules of the `lint` that
    its bundle was written for.
    """

    select: list[str] = Field(default=[], min_length=1)
    """Only these rules, by code; by default all."""
    ignore: list[str] = Field(default=[])
    """Rules that are left out, by code."""
    severity: dict[str, Literal["error", "warning", "off"]] = Field(default={})
    """How grave the findings of a rule are, by its code, where it is not what the rule says; `off` leaves it out."""
    naming: dict[NamedKind, str] = Field(default={})
    """For the rule `irregular-name`: the regular expression that every name of a kind fits as a whole."""


class Manifest(Definition):
    """`manifest.yaml`: what the bundle is called and which objects and actions exist."""

    name: str = Field(min_length=1, max_length=128)
    """The bundle's name, shown in logs and reports."""
    schema_version: Literal[1]
    """The version of this format: 1."""
    description: str = ""
    """What the bundle governs, for people."""
    object_types: dict[Name, ObjectType] = Field(default={})
    """Every type of object, by name."""
    limits: Limits = Field(default_factory=Limits)
    """Bounds on assignments."""
    built_in_roles: list[Name] = Field(default=[])
    """Roles that the bundle cannot be without; where one is not defined, the bundle is refused."""
    identities: IdentitySettings = Field(default_factory=IdentitySettings)
    """What identities in a directory have to keep: limits, roles, credentials."""
    casbin: Given[Casbin] = None
    """Matching functions; plain Casbin bundles only."""
    lint: Lint = Field(default_factory=Lint)
    """What `lint` looks for, and options of its rules."""

    @cached_property
    def known_types(self) -> Mapping[str, ObjectType]:
        """The object types that grants may name: the sidecar's own, which are sensitive, and those declared here."""
        own = {name: ObjectType(actions=list(actions), sensitive=True) for name, actions in OWN_TYPES.items()}
        return {**self.object_types, **own}


# --- policy files ----------------------------------------------------------------------------------------------


class Grant(Definition):
    """One permission (or, with `effect: deny`, one refusal) of a role."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["object"]}, {"required": ["objects"]}]},
    )

    object: NameOrAny = ""
    """The object type, or `*` for every type. Either this or `objects`."""
    objects: list[Name] = Field(default=[], min_length=1)
    """Several object types at once. Either this or `object`."""
    id: ObjectId = "*"
    """Which objects of the type: `*` for all, one id, or a beginning followed by `*`."""
    actions: list[NameOrAny] = Field(min_length=1)
    """What is granted; `*` for every action."""
    scope: Given[Scope] = None
    """`platform` everywhere, `company` in the company of the assignment, `own` where the object's owner is the
    subject. By default what the role's `assigned` says."""
    effect: Literal["allow", "deny"] = "allow"
    """A deny from any role wins over every allow."""
    when: str = Field(default="", min_length=1, max_length=4096)
    """A condition over the request, such as `r.obj.status == "draft"`; needs the extended standard model."""

    @model_validator(mode="after")
    def _one_of_object_and_objects(self) -> "Grant":
        if bool(self.object) == bool(self.objects):
            problem = "both `object` and `objects`" if self.object else "neither `object` nor `objects`"
            raise PydanticCustomError(
                "field-value",
                "the grant has {problem}",
                {"problem": problem, "help": "give exactly one of them"},
            )
        return self

    @property
    def types(self) -> list[str]:
        """The object types, however they were given."""
        return self.objects or [self.object]

    def type_span(self, index: int) -> Span:
        """Where the object type at `index` of `types` stands."""
        return self.value_span("objects", index) if self.objects else self.value_span("object")


class DataDomainUse(Abbreviated):
    """A data domain that a role grants, as it is or narrowed."""

    abbreviation = "name"

    name: Name
    """The data domain."""
    actions: list[Name] = Field(default=[], min_length=1)
    """Only these actions; by default all that the data domain has."""
    scope: Given[Scope] = None
    """As in a grant."""


class Role(Definition):
    """A named set of grants."""

    description: str = ""
    """Who the role is for, for people."""
    kind: Literal["primary", "additive", "sole"] = "primary"
    """`primary`: normally one for each identity; `additive`: on top of one; `sole`: grants nothing and cannot be
    combined."""
    assigned: Place
    """`platform`: the role belongs to no company; `company`: it is always held inside one."""
    sensitive: bool = False
    """Whether assigning the role in a directory needs a justification."""
    inherits: list[Name] = Field(default=[])
    """Roles whose grants this one has too."""
    data_domains: list[DataDomainUse] = Field(default=[])
    """Data domains that the role covers: names, or a name with `actions` or `scope` to narrow it."""
    grants: list[Grant] = Field(default=[])
    """Single grants."""


class DataDomain(Definition):
    """A category of data: object types that are granted together."""

    description: str = ""
    """What the category is, for people."""
    objects: list[Name] = Field(min_length=1)
    """The object types that it covers."""
    actions: list[Name] = Field(default=[], min_length=1)
    """The actions that it stands for; by default every action of each type."""
    sensitive: bool = False
    """Marks data whose grants deserve a second look."""


class Flag(Definition):
    """A switch on single identities: where it is off, the actions are denied."""

    description: str = ""
    """What the switch is for, for people."""
    roles: list[Name] = Field(min_length=1)
    """The roles whose holders have the switch."""
    object: Name
    """The object type."""
    actions: list[Name] = Field(min_length=1)
    """The actions that are denied when the flag is off."""
    default: bool = True
    """Whether it is on for a holder that says nothing."""


class Assignment(Definition):
    """Roles that one identity holds, and grants of its own, on the platform or in one company."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["roles"]}, {"required": ["grants"]}]},
    )

    subject: Identity
    """The identity."""
    roles: list[Name] = Field(default=[], min_length=1)
    """The roles. An identity without any has only `grants`."""
    company: Company = ""
    """The company, for company roles; platform roles take none."""
    grants: list[Grant] = Field(default=[], min_length=1)
    """Grants of this identity alone: what is shared with it, or refused to it, whatever its roles say."""
    flags: dict[str, bool] = Field(default={})
    """Flags switched on or off for this identity."""

    @model_validator(mode="after")
    def _something_is_assigned(self) -> "Assignment":
        if not self.roles and not self.grants:
            raise PydanticCustomError(
                "field-value",
                "the assignment has neither `roles` nor `grants`",
                {"help": "give at least one of them, or remove the assignment"},
            )
        return self

    @property
    def place(self) -> Place:
        """Where it holds: in its company, or on the platform where it names none."""
        return "company" if self.company else "platform"


class GroupMapping(Definition):
    """Roles that members of an identity provider's group hold."""

    group: Value
    """The group, as the identity provider names it."""
    roles: list[Name] = Field(min_length=1)
    """The roles."""
    company: Company = ""
    """The company, for company roles."""


class PolicyFile(Definition):
    """A policy file: any of its sections."""

    roles: dict[Name, Role] = Field(default={})
    """Roles by name."""
    data_domains: dict[Name, DataDomain] = Field(default={})
    """Data domains by name."""
    flags: dict[Name, Flag] = Field(default={})
    """Flags by name."""
    assignments: list[Assignment] = Field(default=[])
    """Who holds which roles."""
    group_mappings: list[GroupMapping] = Field(default=[])
    """Which groups of the identity provider give which roles."""


# --- test files ------------------------------------------------------------------------------------------------


class SingleTest(Definition):
    """One question and the answer that is expected."""

    name: str = Field(min_length=1)
    """What the test shows."""
    subject: str = ""
    """The identity that asks."""
    object: str = ""
    """`type:id`, or `type` alone."""
    company: str = ""
    """The company that the object belongs to."""
    owner: str = ""
    """The identity that owns the object."""
    action: str = ""
    """What it wants to do."""
    attributes: dict[str, Any] = Field(default={})
    """Attributes of the object."""
    subject_attributes: dict[str, Any] = Field(default={})
    """Attributes of the subject."""
    context: dict[str, Any] = Field(default={})
    """Facts about the request itself."""
    time: str = ""
    """The time of the request, `YYYY-MM-DD hh:mm:ss` in UTC."""
    section: str = Field(default="", pattern=SECTION_PATTERN)
    """The numbered sections of a plain Casbin model: `2` for `r2`, `p2`, `e2`, `m2`."""
    expect: Literal["allow", "deny"]
    """The decision."""
    reason: Given[ReasonLabel] = None
    """The reason, if it matters."""
    tags: list[str] = Field(default=[])
    """Words to select tests by."""


class MatrixSubject(Definition):
    """A column of a matrix: who asks."""

    subject: Value
    """The identity."""
    home: str = ""
    """The company that `$home` stands for."""
    legend: str = ""
    """Which entry of `legends` changes the meaning of symbols for this subject."""
    subject_attributes: dict[str, Any] = Field(default={})
    """Attributes of the subject."""


class Situation(Definition):
    """Where the object of a question lies and whose it is."""

    company: str = ""
    """The object's company; `$home` is the subject's own."""
    owner: str = ""
    """The object's owner; `$subject` is the subject itself."""
    id: str = ""
    """The object's id."""


class MatrixRow(Definition):
    """A row of a matrix: the cells of one object type by subject, one symbol for each action."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str] = Field(init=False)

    actions: list[Name] = Field(default=[], min_length=1)
    """The actions of this row, where they are not those of the matrix."""


class Matrix(Definition):
    """A table of access levels, written as reviewers know it, that expands to single tests."""

    name: str = Field(min_length=1)
    """What the matrix shows."""
    description: str = ""
    """More about it, for people."""
    subjects: dict[str, MatrixSubject] = Field(min_length=1)
    """The columns."""
    situations: dict[str, Situation] = Field(min_length=1)
    """Every cell is tested in each of these."""
    legend: dict[str, list[str]] = Field(min_length=1)
    """Symbol to the situations in which it means allowed; in all others it means denied."""
    legends: dict[str, dict[str, list[str]]] = Field(default={})
    """Changed meanings, by name; a subject chooses one."""
    reasons: dict[str, ReasonLabel] = Field(default={})
    """Symbol to the reason that its denials must have."""
    actions: list[Name] = Field(min_length=1)
    """What the symbols of a cell stand for, in this order."""
    rows: dict[str, MatrixRow] = Field(min_length=1)
    """The rows, by object type."""
    tags: list[str] = Field(default=[])
    """Words to select tests by."""


class PolicyTestsFile(Definition):
    """A file of policy tests."""

    tags: list[str] = Field(default=[])
    """Words to select tests by, for every test of the file."""
    tests: list[SingleTest] = Field(default=[])
    """Single questions."""
    matrices: list[Matrix] = Field(default=[])
    """Tables of questions."""
