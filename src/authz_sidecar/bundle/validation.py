"""Shapes: YAML data against the models of `definitions`, and pydantic's errors as findings at their places."""

from collections.abc import Collection, Iterable
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from authz_sidecar.bundle.findings import MAX_SHOWN, Findings
from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.bundle.yaml_definition import (
    DURATION_PATTERN,
    ID_PATTERN,
    NAMES_OR_NONE_PATTERN,
    NAMES_PATTERN,
    REPORTED,
    SECTION_PATTERN,
    Definition,
    descriptions,
)
from authz_sidecar.bundle.yaml_nodes import Path, YamlList, YamlMap, span_at

D = TypeVar("D", bound=Definition)

_WANTED = {
    "string_type": "text",
    "bool_type": "`true` or `false`",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "null": "a value",
}
_TRUE_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class _EnoughError(Exception):
    """More findings than are shown: the rest of the file is not looked at."""


def validate(kind: type[D], root: YamlMap, findings: Findings) -> D | None:
    """`root` as a definition of `kind`. What does not fit becomes findings and is left out, so that the rest can
    be checked further; None if nothing remains."""
    faults = _Faults(root, findings)
    try:
        return kind.model_validate(root, context=faults)
    except ValidationError:
        rest = faults.without(root)
    except _EnoughError:
        return None
    try:
        return None if rest is None else kind.model_validate(rest)
    except ValidationError:
        return None


class _Faults:
    """The faults of one file: reported as they are found, and remembered by what to leave out for them."""

    def __init__(self, root: YamlMap, findings: Findings) -> None:
        self._root = root
        self._findings = findings
        self._refused: set[int] = set()
        self._refused_below: dict[int, set[Path]] = {}

    def __call__(self, kind: type[Definition], node: YamlMap, error: ValidationError) -> None:
        """Report what is wrong with one definition, its parts excepted that were reported themselves."""
        if error.error_count() > MAX_SHOWN:
            self._findings.error(
                node.span,
                "field-value",
                f"the definition has {error.error_count():,} faults",
                "compare it with the format; most of its values are of another type than their field takes",
            )
            self._refused.add(id(node))
            return
        for problem in error.errors(include_url=False):
            if problem["type"] == REPORTED:
                continue
            _report(kind, node, problem, self._findings)
            path = _entry(problem["loc"], node is self._root)
            if path:
                self._refused_below.setdefault(id(node), set()).add(path)
            else:
                self._refused.add(id(node))
        if self._findings.full:
            raise _EnoughError

    def without(self, node: YamlMap) -> YamlMap | None:
        """The file without what was refused; places stay as they were."""
        return None if id(node) in self._refused else self._copy(node, ())

    def _copy(self, node: Any, paths: Collection[Path]) -> Any:
        rest: Any
        paths = {*paths, *self._refused_below.get(id(node), ())}
        if isinstance(node, YamlMap):
            rest = YamlMap(node.file, node.line, node.column)
            rest.places = node.places
            entries: Iterable[tuple[Any, Any]] = node.items()
        elif isinstance(node, YamlList):
            rest = YamlList(node.file, node.line, node.column)
            entries = enumerate(node)
        else:
            return node
        below: dict[Any, set[Path]] = {}
        for path in paths:
            below.setdefault(path[0], set()).add(path[1:])
        for step, value in entries:
            if id(value) in self._refused or () in below.get(step, ()):
                continue
            kept = self._copy(value, below.get(step, ()))
            if isinstance(rest, YamlMap):
                rest[step] = kept
            else:
                rest.append(kept)
                rest.places.append(node.places[step])
        return rest


def _entry(path: Path, at_root: bool) -> Path:
    """What to leave out of a definition for an error at `path` in it: an item of a list; of a file else an entry
    of a section or a section; () is the definition itself."""
    for depth, step in enumerate(path, 1):
        if isinstance(step, int):
            return path[:depth]
    return path[:2] if at_root else ()


def _report(kind: type[Definition], root: YamlMap, problem: ErrorDetails, findings: Findings) -> None:
    """One of pydantic's errors as a finding."""
    path, found, error = problem["loc"], problem["input"], problem["type"]
    context = problem.get("ctx", {})
    is_key = bool(path) and path[-1] == "[key]"
    if is_key:
        path = path[:-1]
    name = quote(path[-1]) if path else "the file"
    if len(path) > 1 and isinstance(path[-1], int):
        name = f"item {path[-1] + 1} of {quote(path[-2])}"
    if error == "extra_forbidden":
        known = _fields(kind, path[:-1])
        findings.error(
            span_at(root, path, key=True),
            "field-unknown",
            f"unknown field {name}",
            suggest(str(path[-1]), known, f"the fields here are {listed(known, 'and')}"),
        )
        return
    if error == "missing":
        findings.error(
            span_at(root, path[:-1], key=True),
            "field-missing",
            f"the field {name} is missing",
            _purpose(kind, path),
        )
        return
    code, message, help = _word(error, name, found, context, problem["msg"])
    # What is wrong with nothing at all, or with a whole definition, is shown at its name.
    at_key = is_key or found is None or (error == "field-value" and isinstance(found, YamlMap))
    findings.error(span_at(root, path, key=at_key), code, message, help)


def _word(error: str, name: str, found: Any, context: dict[str, Any], message: str) -> tuple[str, str, str]:
    """Code, message and help for a value that is not what its field, `name`, takes."""
    wanted = _WANTED.get(error)
    if wanted:
        return "field-type", f"{name} takes {wanted}, not {_describe(found)}", _type_help(error, found)
    if error == "literal_error":
        choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        remedy = f"write {listed(choices)}"
        if isinstance(found, str):
            remedy = suggest(found, choices, remedy)
        return "field-value", f"{name} cannot be {_describe(found)}", remedy
    if error == "string_pattern_mismatch":
        pattern = context["pattern"]
        if pattern == ID_PATTERN:
            return "field-value", f"{quote(found)} is no id or pattern of ids", "`*` stands alone or at the end"
        if pattern == SECTION_PATTERN:
            return "field-value", f"{quote(found)} is no number of a section", "write digits only, in quotes"
        if pattern == DURATION_PATTERN:
            return "field-value", f"{quote(found)} is no duration", _DURATION_HELP
        if pattern in (NAMES_PATTERN, NAMES_OR_NONE_PATTERN):
            return "field-value", f"{quote(found)} is no name or beginning of names", "`*` stands alone or at the end"
        return "field-value", f"{quote(found)} is no name", _NAME_HELP
    if error in ("string_too_short", "too_short"):
        return "field-value", f"{name} is empty", "give a value, or remove the field"
    if error == "too_long":
        limit = context["max_length"]
        return "field-value", f"{name} has {len(found):,} items; at most {limit:,} are taken", "shorten it"
    if error == "string_too_long":
        limit = context["max_length"]
        return "field-value", f"{name} has {len(found)} characters; at most {limit} are taken", "shorten it"
    if error == "greater_than_equal":
        return "field-value", f"{name} is {found}; the least is {context['ge']}", "write a larger number"
    if error == "less_than_equal":
        return "field-value", f"{name} is {found}; the most is {context['le']}", "write a smaller number"
    return "field-value", message, context.get("help", "correct the value")


_DURATION_HELP = "write a whole number and `s`, `m`, `h`, `d`, `w` or `y`, as in `15m`"
_NAME_HELP = "a name begins with a letter and holds letters, digits, `_`, `-` and `.`; at most 128"


def _describe(value: Any) -> str:
    """What somebody wrote, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"the text {quote(value)}" if isinstance(value, str) else f"the number {quote(value)}"


def _type_help(error: str, found: Any) -> str:
    """How to give a field the type that it takes."""
    if found is None:
        return "write a value after the colon, or remove the field"
    if error == "string_type":
        if isinstance(found, bool):
            return f'put it in quotes: `"{str(found).lower()}"`'
        return "write one value" if isinstance(found, dict | list) else f'put it in quotes: `"{found}"`'
    if error == "bool_type" and isinstance(found, str) and found.lower() in _TRUE_WORDS:
        return f"write {quote(_TRUE_WORDS[found.lower()])}; YAML 1.2 takes {quote(found)} as text"
    if error == "bool_type":
        return "write `true` or `false` without quotes"
    if error.startswith("int"):
        return "write digits without quotes"
    if error == "list_type":
        if isinstance(found, dict):
            return "write `[…]`, or `- …` lines"
        # What is not a plain word, such as `*`, means something else to YAML without quotes.
        item = found if isinstance(found, str) and found.replace("_", "a").isalnum() else f'"{found}"'
        return f"write {quote(f'[{item}]')}"
    return "write `field: value` lines below it, indented"


def _fields(kind: type[Definition], path: Path) -> list[str]:
    """The fields that a definition at `path` has."""
    found = _definition_at(kind, path)
    return list(found.model_fields) if found else []


def _definition_at(kind: type[Definition], path: Path) -> type[Definition] | None:
    current: Any = kind
    for step in path:
        if isinstance(current, type) and issubclass(current, Definition):
            field = current.model_fields.get(str(step))
            current = field.annotation if field else None
        elif get_origin(current) in (dict, list):
            current = get_args(current)[-1]
        else:
            return None
        # `Given[X]` is `X | None`.
        choices = [choice for choice in get_args(current) if choice is not type(None)]
        if len(choices) == 1 and get_origin(current) is not list:
            current = choices[0]
    return current if isinstance(current, type) and issubclass(current, Definition) else None


def _purpose(kind: type[Definition], path: Path) -> str:
    """What a missing field is for, from its description."""
    name = str(path[-1])
    found = _definition_at(kind, path[:-1])
    text = descriptions(found).get(name, "") if found else ""
    text = " ".join(text.split()).rstrip(".")
    return f"add {quote(name + ':')}, {text[:1].lower()}{text[1:]}"
