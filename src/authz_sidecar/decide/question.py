"""A question at work: for which objects does a condition hold, fail to hold, or fail?

The question knows the subject, the action, the type and the context; the object's company, id, owner and attributes are
open. A condition is gone through as it would be evaluated, operand by operand, and each way through it is a path.
What can be evaluated is evaluated by the same functions that decide a check.
"""

from typing import Any

import msgspec

from authz_sidecar.compile.planner import may_fail
from authz_sidecar.decide.evaluate import Evaluator
from authz_sidecar.decide.holdings import Held, Holdings, TooManyError
from authz_sidecar.decide.path import NO_PARTS, Path, Paths, open_parts_of, variable_of
from authz_sidecar.model.expression import And, Call, Compare, Const, Expr, In, Not, Or, RoleCall, Sequence
from authz_sidecar.model.patterns import compile_pattern
from authz_sidecar.model.semantics import EvaluationError, write_expression
from authz_sidecar.values import Request
from authz_sidecar.values.texts import ANY, NOTHING, Texts, prefix_of, texts, values_of

# Rules that one question may look at: some ten milliseconds.
MAX_RULES = 5_000
# Ways through one condition; past them the condition is left as it is written.
MAX_PATHS = 64
# Values for which a condition on one open part is evaluated one by one.
MAX_TRIED = 64


class TooManyPathsError(Exception):
    """There are too many ways through a condition."""


class Question:
    """What is known of all the objects that are asked about, and the conditions explored for them.

    `request` is the base request: an object that has a type and nothing else.
    """

    def __init__(self, request: Request, evaluator: Evaluator, holdings: Holdings, suffix: str) -> None:
        self.request = request
        self.holdings = holdings
        self._evaluator = evaluator
        self._suffix = suffix
        self._left = MAX_RULES
        self.type_part = request.type + ":"

    def spend(self, rules: int) -> None:
        """Count rules that are looked at; raises TooManyError past the limit."""
        self._left -= rules
        if self._left < 0:
            raise TooManyError(f"more than {MAX_RULES:,} rules can apply")

    def holds(self, expr: Expr, path: Path, wanted: bool = True) -> Paths:
        """Paths that together hold every object of `path` for which `expr` is `wanted`; all of their objects whose
        conditions hold are such."""
        match expr:
            case Not(operand):
                return self.holds(operand, path, not wanted)
            case And(operands) if wanted:
                return self._all(operands, path, wanted)
            case Or(operands) if not wanted:
                return self._all(operands, path, wanted)
            case And(operands) | Or(operands):
                found: Paths = []
                reached = [path]
                for operand in operands:
                    for one in reached:
                        found += self.holds(operand, one, wanted)
                    if may_fail(operand):
                        # The next one is only asked where this one does not fail.
                        reached = [left for one in reached for left in self.holds(operand, one, not wanted)]
                    _bound(found)
                    _bound(reached)
                return found
        return self._atom(expr, path)[0 if wanted else 1]

    def fails(self, expr: Expr, path: Path) -> Paths:
        """The same for the objects for which evaluating `expr` fails."""
        match expr:
            case Not(operand):
                return self.fails(operand, path)
            case And(operands) | Or(operands):
                goes_on = isinstance(expr, And)
                found: Paths = []
                reached = [path]
                for operand in operands:
                    if may_fail(operand):
                        for one in reached:
                            found += self.fails(operand, one)
                    reached = [left for one in reached for left in self.holds(operand, one, goes_on)]
                    _bound(found)
                    _bound(reached)
                return found
        return self._atom(expr, path)[2]

    def _all(self, operands: tuple[Expr, ...], path: Path, wanted: bool) -> Paths:
        reached = [path]
        for operand in operands:
            reached = [left for one in reached for left in self.holds(operand, one, wanted)]
            _bound(reached)
        return reached

    def _atom(self, expr: Expr, path: Path) -> tuple[Paths, Paths, Paths]:
        """The paths on which a condition without `&&`, `||` and `!` holds, does not hold, and fails."""
        open_parts = open_parts_of(expr)
        unknown = [part for part in open_parts if part == "attributes" or getattr(path, part).only is None]
        if not unknown:
            return self._known(expr, path, open_parts)
        if isinstance(expr, RoleCall):
            found = self._role_call(expr, path)
            if found is not None:
                return found
        if len(unknown) == 1 and unknown[0] != "attributes":
            (part,) = unknown
            among: Texts = getattr(path, part)
            if among.finite and len(among.values) <= MAX_TRIED:
                return self._each(expr, path, open_parts, part, among)
            found = self._by_form(expr, path, part)
            if found is not None:
                return found
        text = write_expression(expr, self._suffix)
        failed = [path.given(f"`{text}` cannot be evaluated")] if may_fail(expr) else []
        return [path.given(text)], [path.given(f"!({text})")], failed

    def _known(self, expr: Expr, path: Path, open_parts: frozenset[str]) -> tuple[Paths, Paths, Paths]:
        """A condition that depends on nothing open."""
        request = self._filled(path, open_parts)
        try:
            holds = self._evaluator.condition(expr)(request)
        except EvaluationError:
            return [], [], [path]
        return ([path], [], []) if holds else ([], [path], [])

    def _filled(self, path: Path, open_parts: frozenset[str], **more: str) -> Request:
        """The request with an object that has these parts."""
        if not open_parts:
            return self.request
        parts = {part: getattr(path, part).only for part in open_parts if part not in more}
        parts.update(more)
        if parts.get("id"):
            parts["object"] = f"{self.type_part}{parts['id']}"
        return msgspec.structs.replace(self.request, **parts)

    def _each(
        self, expr: Expr, path: Path, open_parts: frozenset[str], part: str, among: Texts
    ) -> tuple[Paths, Paths, Paths]:
        """A condition that depends on one open part which has few values."""
        condition = self._evaluator.condition(expr)
        outcomes: tuple[list[str], list[str], list[str]] = ([], [], [])
        for value in among.values:
            try:
                outcome = 0 if condition(self._filled(path, open_parts, **{part: value})) else 1
            except EvaluationError:
                outcome = 2
            outcomes[outcome].append(value)
        held, not_held, failed = [[path.put(part, values_of(values))] if values else [] for values in outcomes]
        return held, not_held, failed

    def _by_form(self, expr: Expr, path: Path, part: str) -> tuple[Paths, Paths, Paths] | None:
        """A condition on one open part that says in which set it lies; None for any other."""
        match expr:
            case Compare("==" | "!=" as op, left, right):
                return self._comparison(op == "==", left, right, path, part)
            case Call(function, (operand, Const(pattern))) if variable_of(operand) is not None:
                compiled = compile_pattern(function, str(pattern))
                if function == "ipMatch" or compiled.kind == "test":
                    return self._pattern_test(expr, path, part, operand, compiled.literal)
                wanted = values_of((compiled.literal,)) if compiled.kind == "exact" else prefix_of(compiled.literal)
                return self._member(operand, wanted, path, part)
            case In(item, container) if variable_of(item) is not None:
                return self._inclusion(item, container, path, part)
            case In(item, Sequence(items)) if not may_fail(item):
                return self._listed(item, items, path, part)
        return None

    def _comparison(
        self, equal: bool, left: Expr, right: Expr, path: Path, part: str
    ) -> tuple[Paths, Paths, Paths] | None:
        for one, other in ((left, right), (right, left)):
            if (
                isinstance(other, Const)
                and isinstance(other.value, bool)
                and isinstance(one, Compare | In | Call | RoleCall)
            ):
                held, not_held, failed = self._atom(one, path)
                return (held, not_held, failed) if other.value is equal else (not_held, held, failed)
            if variable_of(one) is not None and part not in open_parts_of(other):
                try:
                    value = self._value(other, path)
                except EvaluationError:
                    return [], [], [path]
                held, not_held, failed = self._member(one, _texts_of([value]), path, part)
                return (held, not_held, failed) if equal else (not_held, held, failed)
        return None

    def _value(self, expr: Expr, path: Path) -> Any:
        """The value of what is known."""
        if isinstance(expr, Const):
            return expr.value
        return self._evaluator.value(expr)(self._filled(path, open_parts_of(expr)))

    def _inclusion(self, item: Expr, container: Expr, path: Path, part: str) -> tuple[Paths, Paths, Paths] | None:
        """`in` a list, or a map, that is known."""
        if part in open_parts_of(container):
            return None
        try:
            found = self._evaluator.value(container)(self._filled(path, open_parts_of(container)))
        except EvaluationError:
            return [], [], [path]
        if isinstance(found, str):
            return None
        if isinstance(found, list | tuple) or hasattr(found, "keys"):
            return self._member(item, _texts_of(list(found)), path, part)
        return [], [], [path]

    def _listed(self, item: Expr, items: tuple[Expr, ...], path: Path, part: str) -> tuple[Paths, Paths, Paths] | None:
        """A known text in a list that names open parts."""
        wanted: list[Expr] = []
        if part in open_parts_of(item):
            return None
        request = self._filled(path, open_parts_of(item))
        value = self._evaluator.value(item)(request)
        for one in items:
            if variable_of(one) is not None and part in open_parts_of(one):
                wanted.append(one)
                continue
            if part in open_parts_of(one) or may_fail(one):
                return None
            if self._evaluator.value(one)(self._filled(path, open_parts_of(one))) == value:
                return [path], [], []
        held: Paths = []
        left: Paths = [path]
        for one in wanted:
            held += self._member(one, _texts_of([value]), path, part)[0]
            left = [rest for some in left for rest in self._member(one, _texts_of([value]), some, part)[1]]
        return held, left, []

    def _pattern_test(
        self, expr: Expr, path: Path, part: str, operand: Expr, literal: str
    ) -> tuple[Paths, Paths, Paths]:
        """A pattern that only the sidecar can test; what it matches has its literal beginning."""
        text = write_expression(expr, self._suffix)
        held = [one.given(text) for one in self._member(operand, prefix_of(literal), path, part)[0]]
        if not held and not may_fail(expr):
            return [], [path], []
        failed = [path.given(f"`{text}` cannot be evaluated")] if may_fail(expr) else []
        return held, [path.given(f"!({text})")], failed

    def _member(self, operand: Expr, wanted: Texts, path: Path, part: str) -> tuple[Paths, Paths, Paths]:
        """Whether an open part is in a set that takes nothing away."""
        wanted = self.part_texts(variable_of(operand) == "obj", part, wanted)
        held = path.narrowed(part, wanted) if wanted else None
        complement = wanted.complement()
        if complement is None:
            raise TypeError("the complement of such a set is a set")
        left = path.narrowed(part, complement) if complement else None
        return [] if held is None else [held], [] if left is None else [left], []

    def part_texts(self, of_name: bool, part: str, wanted: Texts) -> Texts:
        """What it means for a part that it, or the object's name (`type:id`), is in `wanted`.

        Objects have ids: that one is not empty says nothing.
        """
        if part != "id" or wanted is ANY:
            return wanted
        if not of_name:
            return texts(wanted.values - {""}, wanted.prefixes)
        begin = self.type_part
        if begin.startswith(wanted.prefixes):
            return ANY
        size = len(begin)
        return texts(
            [text[size:] for text in wanted.values if text.startswith(begin) and len(text) > size],
            [prefix[size:] for prefix in wanted.prefixes if prefix.startswith(begin)],
        )

    def _role_call(self, expr: RoleCall, path: Path) -> tuple[Paths, Paths, Paths] | None:
        """Who holds a role, where the name or the company is open; None where that cannot be listed."""
        name, role, *rest = expr.arguments
        domain = rest[0] if rest else Const("")
        if open_parts_of(role) or any(may_fail(part) and variable_of(part) is None for part in expr.arguments):
            return None
        wanted = self._evaluator.value(role)(self.request)
        if not isinstance(wanted, str):
            return [], [], [path]
        inside = self._text(domain, path)
        if inside is None and variable_of(domain) != "company":
            return None
        holder = self._text(name, path)
        if holder is not None:
            held = (
                self.holdings.by_company(expr.definition, holder)
                if inside is None
                else self.holdings.in_domain(expr.definition, holder, inside)
            )
            where = self.holdings.covering(expr.definition, held, holder, wanted)
            return self._in_companies(expr, where, path)
        variable = variable_of(name)
        if variable is None:
            return None
        return self._held_by(expr, path, variable, wanted, inside)

    def _in_companies(self, expr: RoleCall, where: Held, path: Path) -> tuple[Paths, Paths, Paths]:
        held = path.narrowed("company", where.companies) if where.companies else None
        complement = where.companies.complement()
        if where.exact and complement is not None:
            left = path.narrowed("company", complement) if complement else None
            return [] if held is None else [held], [] if left is None else [left], []
        text = write_expression(expr, self._suffix)
        return [] if held is None else [held.given(text)], [path.given(f"!({text})")], []

    def _held_by(
        self, expr: RoleCall, path: Path, variable: str, role: str, domain: str | None
    ) -> tuple[Paths, Paths, Paths] | None:
        """An open name that holds a known role."""
        by_domain = self.holdings.holders(expr.definition, role, domain)
        part = "id" if variable == "obj" else variable
        if by_domain is None or (domain is None and part == "company"):
            return None
        text = write_expression(expr, self._suffix)
        # Every name holds itself, in any domain.
        itself = self.part_texts(variable == "obj", part, values_of((role,)))
        if domain is not None:
            names = by_domain.get(domain, NO_PARTS) | {role}
            wanted = self.part_texts(variable == "obj", part, values_of(names))
            held, left = (path.narrowed(part, wanted) if wanted else None), wanted.complement()
            rest = path.narrowed(part, left) if left else None
            return [] if held is None else [held], [] if rest is None else [rest], []
        found = [path.narrowed(part, itself)] if itself else []
        for place, names in by_domain.items():
            wanted = self.part_texts(variable == "obj", part, values_of(names))
            inside = path.narrowed("company", values_of((place,)))
            if wanted and inside is not None:
                found.append(inside.narrowed(part, wanted))
        return [one for one in found if one is not None], [path.given(f"!({text})")], []

    def _text(self, expr: Expr, path: Path) -> str | None:
        """The text of an argument, if it is known."""
        open_parts = open_parts_of(expr)
        if "attributes" in open_parts or any(getattr(path, part).only is None for part in open_parts):
            return None
        value = self._evaluator.value(expr)(self._filled(path, open_parts))
        return value if isinstance(value, str) else None


def _bound(paths: Paths) -> None:
    if len(paths) > MAX_PATHS:
        raise TooManyPathsError


def _texts_of(found: list[Any]) -> Texts:
    """Those of the values that are text: nothing else equals a part of an object."""
    values = [value for value in found if isinstance(value, str)]
    return values_of(values) if values else NOTHING
