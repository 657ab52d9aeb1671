"""Conditions at work: an expression tree becomes a function of the request.

The functions hold no state and cannot loop: their cost is bounded by the size of the expression, which the
grammar bounds, and patterns run on a linear-time engine.
"""

from collections.abc import Callable, Mapping

from authz_sidecar.compile.roles import RoleGraph
from authz_sidecar.decide.directory_links import DEFINITION, NO_LINKS, DirectoryLinks, Links
from authz_sidecar.decide.roles import MAX_CACHED, covers, held_roles, require_text
from authz_sidecar.decide.tokens import Getter, member, read_attribute, read_token, read_tokens
from authz_sidecar.model.expression import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Const,
    Expr,
    In,
    Negate,
    Not,
    Or,
    RoleCall,
    Sequence,
    Token,
)
from authz_sidecar.model.patterns import PatternError, compile_pattern, time_match
from authz_sidecar.model.semantics import EvaluationError, calculate, compare, contains, kind_of, write_expression
from authz_sidecar.values import Request
from authz_sidecar.values.request import MAX_VALUE_BYTES, SOURCES

Condition = Callable[[Request], bool]
# Matching takes time in proportion to the text, several microseconds a character for the worst patterns.
MAX_MATCHED = 1024
# `type:id`, each as long as a value of a request may be.
MAX_NAME = 2 * MAX_VALUE_BYTES + 1


class Evaluator:
    """Builds conditions over one snapshot's role graphs, and over what the directory says of a request's subject."""

    def __init__(self, graphs: Mapping[str, RoleGraph], directory: DirectoryLinks | None = None) -> None:
        self._graphs = graphs
        self._directory = directory
        self.closures: dict[tuple[str, str, str, Links], frozenset[str]] = {}

    def links(self, definition: str, request: Request, domain: str) -> Links:
        """What the directory adds to the links of a role definition in one domain."""
        if request.identity is None or definition != DEFINITION or self._directory is None:
            return NO_LINKS
        return self._directory.of(request, domain)

    def condition(self, expr: Expr) -> Condition:
        """A function that says whether `expr` holds; it raises EvaluationError when that cannot be told."""
        match expr:
            case And(operands):
                parts = [self.condition(part) for part in operands]

                def all_hold(request: Request) -> bool:
                    for part in parts:  # noqa: SIM110 - a generator costs more than the loop
                        if not part(request):
                            return False
                    return True

                return all_hold
            case Or(operands):
                parts = [self.condition(part) for part in operands]

                def any_holds(request: Request) -> bool:
                    for part in parts:  # noqa: SIM110 - a generator costs more than the loop
                        if part(request):
                            return True
                    return False

                return any_holds
            case Not(operand):
                inner = self.condition(operand)
                return lambda request: not inner(request)
            case Compare() | In() | Call() | RoleCall():
                return self.value(expr)
        value = self.value(expr)
        text = write_expression(expr)

        def must_be_boolean(request: Request) -> bool:
            found = value(request)
            if not isinstance(found, bool):
                raise EvaluationError(f"`{text}` is {kind_of(found)}, not a boolean")
            return found

        return must_be_boolean

    def guard(self, conjuncts: tuple[Expr, ...]) -> Condition:
        """A function that is true (or merely non-empty) when all of `conjuncts` hold."""
        match conjuncts:
            case (Compare("!=", Token(token), Const("")),) if token in SOURCES:
                return read_token(token)
        return self.condition(And(conjuncts))

    def value(self, expr: Expr) -> Getter:
        """A function that gives the value of `expr`; it raises EvaluationError when it has none."""
        match expr:
            case Const(value):
                return lambda _request: value
            case Token(name):
                return read_token(name)
            case Attribute(Token(token), name):
                return read_attribute(token, name)
            case Attribute(base, name):
                inner = self.value(base)
                what = f"`{write_expression(base)}`"
                return lambda request: member(inner(request), name, what)
            case Compare("==", Token(left), Token(right)) if left in SOURCES and right in SOURCES:
                both = read_tokens((left, right))

                def equal(request: Request) -> bool:
                    one, other = both(request)
                    return bool(one == other)

                return equal
            case Compare(op, left, right):
                read_left, read_right = self.value(left), self.value(right)
                if op == "==":
                    return lambda request: read_left(request) == read_right(request)
                return lambda request: compare(op, read_left(request), read_right(request))
            case In(item, container):
                read_item, read_container = self.value(item), self.value(container)
                return lambda request: contains(read_container(request), read_item(request))
            case Sequence(items):
                readers = [self.value(part) for part in items]
                return lambda request: [read(request) for read in readers]
            case Arithmetic(op, left, right):
                read_left, read_right = self.value(left), self.value(right)
                return lambda request: calculate(op, read_left(request), read_right(request))
            case Negate(operand):
                inner = self.value(operand)
                return lambda request: calculate("-", 0, inner(request))
            case Call("timeMatch", (start, end)):
                return self._time_call(self.value(start), self.value(end))
            case Call(function, (value_, Const(pattern))):
                # What a token holds is bounded already: an object's name by twice what an attribute may give.
                limit = MAX_NAME if isinstance(value_, Token) else MAX_MATCHED
                return self._pattern_call(function, self.value(value_), str(pattern), limit)
            case RoleCall(definition, arguments):
                return self._role_call(definition, arguments)
            case And() | Or() | Not():
                return self.condition(expr)
        raise TypeError(f"no value for {expr!r}")

    @staticmethod
    def _time_call(start: Getter, end: Getter) -> Getter:
        def within(request: Request) -> bool:
            try:
                return time_match(start(request), end(request), request.time)
            except (ValueError, TypeError) as error:
                raise EvaluationError(f"`timeMatch` fails: {error}") from None

        return within

    @staticmethod
    def _pattern_call(function: str, value: Getter, pattern: str, limit: int) -> Getter:
        """A pattern is compiled when it is first met and kept with its condition: patterns come from the policy, which
        has only so many."""
        test: Callable[[str], bool] | None = None

        def matches(request: Request) -> bool:
            nonlocal test
            subject = value(request)
            if not isinstance(subject, str):
                raise EvaluationError(f"`{function}` is given {kind_of(subject)}")
            if len(subject) > limit:
                raise EvaluationError(f"`{function}` is given a text of more than {limit:,} characters")
            try:
                if test is None:
                    test = compile_pattern(function, pattern).test
                return test(subject)
            except (PatternError, ValueError) as error:
                raise EvaluationError(f"`{function}` fails: {error}") from None

        return matches

    def _held(self, graph: RoleGraph, name: str, domain: str, request: Request) -> frozenset[str]:
        """The roles of `name`, remembered: the rules of one decision mostly ask about the same name."""
        more = self.links(graph.definition, request, domain)
        if graph.conditions:
            return held_roles(graph, name, domain, request.time, more)
        at = (graph.definition, name, domain, more)
        found = self.closures.get(at)
        if found is None:
            found = held_roles(graph, name, domain, request.time, more)
            if len(self.closures) >= MAX_CACHED:
                self.closures.clear()
            self.closures[at] = found
        return found

    def _role_call(self, definition: str, arguments: tuple[Expr, ...]) -> Getter:
        graph = self._graphs[definition]
        held = self._held
        readers = [self.value(part) for part in arguments]

        def holds(request: Request) -> bool:
            values = [require_text(read(request), f"an argument of `{definition}`") for read in readers]
            name, role = values[0], values[1]
            if name == role:
                return True
            return covers(graph, held(graph, name, values[2] if len(values) > 2 else "", request), name, role)

        return holds
