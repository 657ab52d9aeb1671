"""What all definitions of a bundle's YAML have in common: the place that each was read from, and types of fields."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic import ModelWrapValidatorHandler as Handler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from authz_sidecar.bundle.yaml_nodes import YamlList, YamlMap
from authz_sidecar.values.decision import Reason
from authz_sidecar.values.request import ROLE_PREFIX, value_problem
from authz_sidecar.values.span import Span

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_.\-]*$"
NAME_OR_ANY_PATTERN = r"^(\*|[A-Za-z][A-Za-z0-9_.\-]*)$"
ID_PATTERN = r"^[^*]*\*?$"
SECTION_PATTERN = r"^[0-9]*$"
# Names, or the beginning of names, as gates take them; with another text than `ID_PATTERN`, so that each is told apart.
NAMES_PATTERN = r"^(\*|[^*]+\*?)$"
NAMES_OR_NONE_PATTERN = r"^(\*|[^*]*|[^*]+\*)$"
DURATION_PATTERN = r"^[1-9][0-9]{0,5}[smhdwy]$"

T = TypeVar("T")


def _refuse_null(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("null", "nothing is given")
    return value


def _check_value(value: str) -> str:
    problem = value_problem(value)
    if problem:
        raise PydanticCustomError("field-value", "the value {problem}", {"problem": problem})
    return value


def _check_identity(value: str) -> str:
    if value.startswith(ROLE_PREFIX):
        raise PydanticCustomError(
            "field-value",
            "an identity cannot begin with `role:`",
            {"help": "that prefix is kept for roles; name the identity without it"},
        )
    if value == "*":
        raise PydanticCustomError(
            "field-value",
            "`*` is no identity",
            {"help": "name each identity; there is no assignment for everybody"},
        )
    return _check_value(value)


def _check_company(value: str) -> str:
    # INVARIANT company-is-no-wildcard: `*` as a domain means the whole platform in the standard model.
    if "*" in value:
        raise PydanticCustomError(
            "field-value",
            "a company cannot hold `*`",
            {"help": "name one company; for access everywhere assign a platform role"},
        )
    return _check_value(value)


Given: TypeAlias = Annotated[T | None, BeforeValidator(_refuse_null)]
Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN, max_length=128)]
NameOrAny: TypeAlias = Annotated[str, Field(pattern=NAME_OR_ANY_PATTERN, max_length=128)]
Value: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_value)]
Identity: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_identity)]
Company: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_company)]
ObjectId: TypeAlias = Annotated[str, Field(min_length=1, pattern=ID_PATTERN), AfterValidator(_check_value)]
Scope: TypeAlias = Literal["platform", "company", "own"]
Place: TypeAlias = Literal["platform", "company"]
ReasonLabel: TypeAlias = Literal[
    "allowed_by_rule",
    "denied_by_rule",
    "no_matching_rule",
    "no_role_in_company",
    "unknown_subject",
    "invalid_request",
    "evaluation_error",
    "no_policy",
    "allowed_without_rule",
]
NamedKind: TypeAlias = Literal[
    "object_types", "actions", "roles", "data_domains", "flags", "companies", "identities", "groups"
]
REASONS: Mapping[str, Reason] = {reason.label: reason for reason in Reason}


FaultReport: TypeAlias = Callable[[type["Definition"], YamlMap, ValidationError], None]
"""Is told which kind of definition was read from which YAML and what is wrong with it."""

REPORTED = "reported"
"""The type of pydantic's error for a definition whose faults were told already."""


class Definition(BaseModel):
    """A part of a bundle's YAML that knows where it was written."""

    # Built when the first is read: a part of another is never built by itself, and few commands read all kinds.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    node: ClassVar[YamlMap] = YamlMap("", 0, 0)
    """The YAML that it was read from; an empty one for a default."""

    @model_validator(mode="wrap")
    @classmethod
    def _keep_node(cls, value: Any, handler: Handler["Definition"], info: ValidationInfo) -> Any:
        """Keep the YAML. What is wrong with it is told to the context, a `FaultReport`, definition by definition:
        a large file may have more faults than fit into one exception."""
        try:
            definition = handler(value)
        except ValidationError as error:
            if info.context is None or not isinstance(value, YamlMap):
                raise
            report: FaultReport = info.context
            report(cls, value, error)
            raise PydanticCustomError(REPORTED, "reported") from None
        if isinstance(value, YamlMap):
            # Beside the fields, as `functools.cached_property` stores: private attributes of pydantic cost as much
            # as the whole validation.
            definition.__dict__["node"] = value
        return definition

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """With what each field is for."""
        reference = handler(core_schema)
        fields = handler.resolve_ref_schema(reference).get("properties", {})
        for name, text in descriptions(cls).items():
            if name in fields:
                fields[name].setdefault("description", text)
        return reference

    @property
    def span(self) -> Span:
        """Where it is defined: at its name, if it has one, else where it begins."""
        return self.node.span

    def key_span(self, field: str) -> Span:
        """Where a field's name stands."""
        return self.node.key_span(field)

    def text_span(self, field: str, offset: int) -> Span:
        """Where the character at `offset` of a field's text stands."""
        return self.node.text_span(field, offset)

    def value_span(self, field: str, item: str | int | None = None) -> Span:
        """Where a field's value begins, or one item of it (by index) or one key of it (by name)."""
        value = self.node.get(field)
        if isinstance(item, str) and isinstance(value, YamlMap):
            return value.key_span(item)
        if isinstance(item, int) and isinstance(value, YamlList):
            return value.value_span(item)
        return self.node.value_span(field)


class Abbreviated(Definition):
    """A definition that may be written as the text of one of its fields, `abbreviation`, alone."""

    abbreviation: ClassVar[str]

    @model_validator(mode="wrap")
    @classmethod
    def _from_text(cls, value: Any, handler: Handler["Abbreviated"]) -> Any:
        return handler({cls.abbreviation: value}) if isinstance(value, str) else handler(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Either the text alone or the mapping."""
        reference = super().__get_pydantic_json_schema__(core_schema, handler)
        schema = handler.resolve_ref_schema(reference)
        mapping = dict(schema)
        schema.clear()
        schema.update({"anyOf": [mapping["properties"][cls.abbreviation], mapping]})
        return reference


@cache
def descriptions(kind: type[Definition]) -> Mapping[str, str]:
    """What each field of a definition is for: the text below it in the source.

    Read when somebody asks, by schemas and messages: reading it whenever a class is made, as pydantic offers, is a
    fifth of what loading a bundle takes.
    """
    found: dict[str, str] = {}
    for definition in reversed(kind.__mro__):
        if not issubclass(definition, Definition) or definition is Definition:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(definition))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found
