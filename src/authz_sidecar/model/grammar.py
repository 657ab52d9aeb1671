"""The matcher language: text in, tree out.

The meaning is Casbin's, which is Python's after `&&`, `||` and `!` become `and`, `or` and `not`: the precedence
is or < and < not < comparison and `in` < `+ -` < `* / %` < unary `-`, so `!a == b` is `!(a == b)`. What the
language holds is written down in docs/models.md. One pass checks the kinds too: what is decided by one side
(a condition, a text, a number) must fit where it stands; what only a request can tell is left to evaluation.
"""

import difflib
import keyword
from collections.abc import Iterable

from authz_sidecar.model.expression import (
    And,
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Const,
    Eval,
    Expr,
    Field,
    In,
    Names,
    Negate,
    Not,
    Or,
    RoleCall,
    Sequence,
    Token,
)
from authz_sidecar.model.functions import FUNCTIONS, Function
from authz_sidecar.model.kinds import CONDITIONS, NUMBERS, TEXTS, Kind, Part
from authz_sidecar.model.lexer import ExpressionError, Lexeme, quote, read_lexemes
from authz_sidecar.model.patterns import PatternError, compile_pattern, parse_time

__all__ = ["PLAIN_TOKENS", "ExpressionError", "parse_expression"]

MAX_DEPTH = 64
MAX_NODES = 2048

PLAIN_TOKENS = frozenset({"dom", "domain", "tenant", "company", "act", "type", "id", "owner"})
"""Request tokens that are text and nothing else. `sub` and `obj` are text that also has attributes."""

_TEXT_TOKENS = PLAIN_TOKENS | {"sub", "obj"}
_MAP_TOKENS = frozenset({"context"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


def parse_expression(text: str, names: Names) -> Expr:
    """The tree of `text`. Raises ExpressionError, and nothing else whatever the text is.

    Limits: 8,192 characters, 64 levels of nesting, 2,048 nodes. And/Or are flattened.
    """
    return _Parser(text, names).parse_whole()


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` if a known name is near, else ""."""
    candidates = list(known)
    near = difflib.get_close_matches(name[:64], candidates, n=1, cutoff=0.6)
    if not near:
        near = [candidate for candidate in candidates if candidate.lower() == name.lower()]
    return f"did you mean {quote(near[0])}?" if near else ""


class _Parser:
    """Precedence climbing over the lexemes. Levels: 1 or, 2 and, 3 not, 4 comparison, 5 sum, 6 product, 7 unary."""

    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names
        self.lexemes = read_lexemes(text)
        self.at = 0
        self.level = 0
        self.nodes = 0

    @property
    def current(self) -> Lexeme:
        return self.lexemes[self.at]

    def take(self) -> Lexeme:
        lexeme = self.lexemes[self.at]
        self.at += 1
        return lexeme

    def parse_whole(self) -> Expr:
        if self.current.kind == "end":
            raise ExpressionError("expression-syntax", "the expression is empty", "write `True` to match always", 0)
        part = self.parse(1)
        if self.current.kind != "end":
            raise self.unexpected()
        return self.condition(part).expr

    # Building

    def part(self, expr: Expr, kind: Kind, start: int, end: int, *below: Part) -> Part:
        """A piece made of one more node; the limits are kept here."""
        self.nodes += 1
        depth = 1 + max((piece.depth for piece in below), default=0)
        self.check_limits(depth, start)
        return Part(expr, kind, depth, start, end)

    def check_limits(self, depth: int, offset: int) -> None:
        if depth > MAX_DEPTH:
            raise ExpressionError(
                "expression-limit",
                f"the expression is nested more than {MAX_DEPTH} deep",
                "split it, or remove brackets that change nothing",
                offset,
            )
        if self.nodes > MAX_NODES:
            raise ExpressionError(
                "expression-limit",
                f"the expression has more than {MAX_NODES:,} parts",
                "move what differs by rule into fields of the rules",
                offset,
            )

    # Operators

    def parse(self, least: int) -> Part:
        """An expression of operators of level `least` and above."""
        self.level += 1
        self.check_limits(self.level, self.current.offset)
        part = self.prefix(least)
        if least <= 6:
            part = self.arithmetic(part, least)
        if least <= 4 and self.is_comparison():
            part = self.comparison(part)
        if least <= 2 and self.current.kind == "&&":
            part = self.junction(part, "&&", And)
        if least <= 1 and self.current.kind == "||":
            part = self.junction(part, "||", Or)
        self.level -= 1
        return part

    def prefix(self, least: int) -> Part:
        lexeme = self.current
        if lexeme.kind == "!":
            if least > 3:
                raise ExpressionError(
                    "expression-syntax",
                    "`!` stands on one side of an operator",
                    "put it in brackets, as in `a == (!b)`",
                    lexeme.offset,
                )
            self.take()
            operand = self.condition(self.parse(3))
            # A comparison, sum or product is inside the operand already; nothing of level 4 and above can follow.
            return self.part(Not(operand.expr), Kind.CONDITION, lexeme.offset, operand.end, operand)
        if lexeme.kind == "-":
            self.take()
            operand = self.number(self.parse(7), "-")
            return self.part(Negate(operand.expr), Kind.NUMBER, lexeme.offset, operand.end, operand)
        return self.atom()

    def arithmetic(self, left: Part, least: int) -> Part:
        while True:
            operator = self.current.kind
            level = 6 if operator in {"*", "/", "%"} else 5 if operator in {"+", "-"} else 0
            if not level or level < least:
                return left
            offset = self.take().offset
            right = self.parse(level + 1)
            kind = self.check_arithmetic(operator, left, right, offset)
            left = self.part(Arithmetic(operator, left.expr, right.expr), kind, left.start, right.end, left, right)

    def check_arithmetic(self, operator: str, left: Part, right: Part, offset: int) -> Kind:
        if operator != "+":
            self.number(left, operator)
            self.number(right, operator)
            return Kind.NUMBER
        for side in (left, right):
            if side.kind not in NUMBERS and side.kind is not Kind.TEXT:
                raise self.misfit(side, "`+`", "`+` adds two numbers or joins two texts")
        kinds = {left.kind, right.kind}
        if kinds >= {Kind.TEXT, Kind.NUMBER}:
            raise ExpressionError(
                "expression-type",
                "`+` stands between text and a number",
                "write the number in quotes to join, or compare texts as texts",
                offset,
            )
        return Kind.TEXT if Kind.TEXT in kinds else Kind.NUMBER if Kind.NUMBER in kinds else Kind.VALUE

    def is_comparison(self) -> bool:
        kind = self.current.kind
        return kind in _COMPARISONS or kind == "in" or (kind == "!" and self.is_not_in())

    def is_not_in(self) -> bool:
        return self.current.value == "not" and self.lexemes[self.at + 1].kind == "in"

    def comparison(self, first: Part) -> Part:
        """`a < b`, `a in b`, and chains: `a < b <= c` is `a < b && b <= c`, as in Python."""
        links: list[Part] = []
        left = first
        while self.is_comparison():
            if links and left.kind is Kind.CONDITION:
                raise ExpressionError(
                    "expression-syntax",
                    "a condition stands in the middle of a chain of comparisons",
                    "put each comparison in brackets and join them with `&&`",
                    left.start,
                )
            operator = self.take()
            negated = operator.kind == "!"
            if negated:
                self.take()
            right = self.parse(5)
            if operator.kind == "in" or negated:
                link = self.membership(left, right)
                if negated:
                    link = self.part(Not(link.expr), Kind.CONDITION, left.start, right.end, link)
            else:
                self.check_comparison(operator.kind, left, right, operator.offset)
                link = self.part(
                    Compare(operator.kind, left.expr, right.expr),
                    Kind.CONDITION,
                    left.start,
                    right.end,
                    left,
                    right,
                )
            links.append(link)
            left = right
        if len(links) == 1:
            return links[0]
        expr = And(tuple(link.expr for link in links))
        return self.part(expr, Kind.CONDITION, first.start, left.end, *links)

    def check_comparison(self, operator: str, left: Part, right: Part, offset: int) -> None:
        for side, other in ((left, right), (right, left)):
            if side.kind is Kind.LIST:
                raise self.misfit(side, quote(operator), "a list stands only on the right of `in`")
            if side.kind is Kind.CONDITION and other.kind is not Kind.BOOLEAN:
                raise self.misfit(side, quote(operator), "join conditions with `&&` and `||`")
        if operator in {"==", "!="}:
            return
        for side in (left, right):
            if side.kind in {Kind.BOOLEAN, Kind.CONDITION, Kind.MAP}:
                raise self.misfit(side, quote(operator), "only numbers and texts have an order")
        if {left.kind, right.kind} == {Kind.TEXT, Kind.NUMBER}:
            raise ExpressionError(
                "expression-type",
                f"{quote(operator)} stands between text and a number",
                "rules hold text only; write a number that differs by rule into the rule's own condition",
                offset,
            )

    def membership(self, item: Part, container: Part) -> Part:
        if item.kind in {Kind.CONDITION, Kind.LIST, Kind.MAP}:
            raise self.misfit(item, "`in`", "left of `in` stands one value")
        if container.kind not in TEXTS and container.kind not in {Kind.LIST, Kind.MAP}:
            raise self.misfit(container, "`in`", 'right of `in` stands a list, as in `("a", "b")`, or an attribute')
        if container.bracketed and isinstance(container.expr, Const):
            raise ExpressionError(
                "expression-type",
                f"{quote(self.source(container))} is text in brackets, not a list",
                'write `["a"]` or `("a",)` for a list of one; without brackets it asks for a part of the text',
                container.start,
            )
        if container.kind is Kind.TEXT and item.kind in {Kind.NUMBER, Kind.BOOLEAN}:
            raise self.misfit(item, "`in`", "only text is a part of text")
        return self.part(In(item.expr, container.expr), Kind.CONDITION, item.start, container.end, item, container)

    def junction(self, first: Part, operator: str, node: type[And] | type[Or]) -> Part:
        parts = [self.condition(first)]
        while self.current.kind == operator:
            self.take()
            parts.append(self.condition(self.parse(3 if node is And else 2)))
        operands: list[Expr] = []
        for part in parts:
            if isinstance(part.expr, node):
                operands.extend(part.expr.operands)
            else:
                operands.append(part.expr)
        return self.part(node(tuple(operands)), Kind.CONDITION, parts[0].start, parts[-1].end, *parts)

    # Operands

    def atom(self) -> Part:
        lexeme = self.current
        if lexeme.kind in {"text", "number"}:
            self.take()
            kind = Kind.TEXT if lexeme.kind == "text" else Kind.NUMBER
            return self.part(Const(lexeme.value), kind, lexeme.offset, lexeme.end)
        if lexeme.kind == "path":
            self.take()
            if self.current.kind == "(":
                return self.call(lexeme)
            return self.subscripted(self.path(lexeme))
        if lexeme.kind == "(":
            return self.subscripted(self.bracket())
        if lexeme.kind == "[":
            self.take()
            items = self.items([], "]")
            return self.list_part(items, lexeme.offset)
        raise self.unexpected()

    def bracket(self) -> Part:
        start = self.take().offset
        if self.current.kind == ")":
            return self.list_part(self.items([], ")"), start)
        part = self.parse(1)
        if self.current.kind == ",":
            self.take()
            return self.list_part(self.items([part], ")"), start)
        end = self.expect(")", "close the bracket with `)`").end
        return part._replace(start=start, end=end, bracketed=True)

    def items(self, items: list[Part], closing: str) -> list[Part]:
        """The rest of a list, up to and with its closing bracket; a comma may end it."""
        while self.current.kind != closing:
            items.append(self.parse(1))
            if self.current.kind != closing:
                self.expect(",", f"separate items with `,` and close the list with {quote(closing)}")
        self.take()
        return items

    def list_part(self, items: list[Part], start: int) -> Part:
        for item in items:
            if item.kind in {Kind.CONDITION, Kind.LIST, Kind.MAP}:
                raise self.misfit(item, "a list", "a list holds values: texts, numbers, `r.x` and `p.x`")
        end = self.lexemes[self.at - 1].end
        part = self.part(Sequence(tuple(item.expr for item in items)), Kind.LIST, start, end, *items)
        return self.subscripted(part)

    def subscripted(self, part: Part) -> Part:
        """`part`, unless a `[` or `(` follows that would take a piece of it or call it."""
        if self.current.kind in {"[", "("}:
            what = "indexes and slices" if self.current.kind == "[" else "calls of anything but a named function"
            raise ExpressionError(
                "expression-syntax",
                f"unexpected {quote(self.current.kind)} after {quote(self.source(part))}",
                f"{what} are not part of the language",
                self.current.offset,
            )
        return part

    def path(self, lexeme: Lexeme) -> Part:
        """`True`, `False`, `r.token`, `r.token.attribute` or `p.field`."""
        head, *rest = str(lexeme.value).split(".")
        if not rest:
            return self.word(lexeme)
        suffix = self.names.suffix
        if head == "r" + suffix:
            return self.request_path(lexeme, rest)
        if head == "p" + suffix:
            return self.field(lexeme, rest)
        help = f"names here begin with `r{suffix}.`" + (f" or `p{suffix}.`" if self.names.fields else "")
        if head[:1] in {"r", "p"} and (head[1:].isdigit() or len(head) == 1):
            help += "; a numbered matcher uses the request and rules of its own number"
        raise ExpressionError("expression-name", f"unknown name {quote(str(lexeme.value))}", help, lexeme.offset)

    def word(self, lexeme: Lexeme) -> Part:
        name = str(lexeme.value)
        if name in {"True", "False"}:
            return self.part(Const(name == "True"), Kind.BOOLEAN, lexeme.offset, lexeme.end)
        suffix = self.names.suffix
        if name in FUNCTIONS or name in self.names.roles or name == "eval":
            help = f"{quote(name)} is a function: write `{name}(…)`"
        elif name in {"if", "else", "for", "is", "lambda", "await", "yield", "None"}:
            help = f"{quote(name)} of Python is not part of the language"
        elif name in self.names.tokens:
            help = f"for the request's token, write `r{suffix}.{name}`"
        elif name in self.names.fields:
            help = f"for the rule's field, write `p{suffix}.{name}`"
        elif name.lower() in {"true", "false"}:
            help = f"did you mean `{name.capitalize()}`?"
        else:
            help = suggest(name, ("True", "False", *FUNCTIONS, *self.names.roles))
            help = help or f"texts stand in quotes; names begin with `r{suffix}.` or `p{suffix}.`"
        raise ExpressionError("expression-name", f"unknown name {quote(name)}", help, lexeme.offset)

    def request_path(self, lexeme: Lexeme, rest: list[str]) -> Part:
        suffix, tokens = self.names.suffix, self.names.tokens
        token, *attributes = rest
        offset = lexeme.offset
        if token not in tokens:
            help = suggest(token, tokens) or f"the request's tokens are {self.listing(tokens)}"
            raise ExpressionError("expression-name", f"the request has no token {quote(token)}", help, offset)
        kind = Kind.TEXT if token in _TEXT_TOKENS else Kind.MAP if token in _MAP_TOKENS else Kind.OPEN
        token_end = offset + len(f"r{suffix}.{token}")
        expr: Token | Attribute = Token(token)
        part = self.part(expr, kind, offset, token_end)
        if attributes and token in PLAIN_TOKENS:
            raise ExpressionError(
                "expression-type",
                f"{quote(self.source(part))} is text and has no attribute {quote(attributes[0])}",
                "attributes are those of `sub`, `obj`, `context` and of tokens that come from the context",
                token_end + 1,
            )
        for attribute in attributes:
            start = part.end + 1
            if attribute.startswith("_") or keyword.iskeyword(attribute):
                raise ExpressionError(
                    "expression-syntax",
                    f"{quote(attribute)} cannot be an attribute",
                    "Casbin takes no attribute that begins with `_` or is a word of Python; rename it",
                    start,
                )
            expr = Attribute(expr, attribute)
            part = self.part(expr, Kind.OPEN, offset, start + len(attribute), part)
        return part

    def field(self, lexeme: Lexeme, rest: list[str]) -> Part:
        fields = self.names.fields
        name = rest[0]
        if name not in fields:
            if not fields:
                help = "a condition that a rule carries speaks of the request only; write the value itself"
            else:
                help = suggest(name, fields) or f"the rule's fields are {self.listing(fields)}"
            raise ExpressionError("expression-name", f"the rule has no field {quote(name)}", help, lexeme.offset)
        if len(rest) > 1:
            raise ExpressionError(
                "expression-type",
                f"{quote(f'p{self.names.suffix}.{name}')} is text and has no attribute {quote(rest[1])}",
                "only the request has attributes",
                lexeme.offset + len(f"p{self.names.suffix}.{name}."),
            )
        return self.part(Field(name), Kind.TEXT, lexeme.offset, lexeme.end)

    # Calls

    def call(self, lexeme: Lexeme) -> Part:
        name = str(lexeme.value)
        if "." in name:
            raise ExpressionError(
                "expression-syntax",
                f"{quote(name)} is called",
                "methods are not part of the language; matching functions are listed in docs/models.md",
                lexeme.offset,
            )
        known = name == "eval" or name in FUNCTIONS or name in self.names.roles
        if not known:
            help = suggest(name, (*FUNCTIONS, *self.names.roles, "eval"))
            help = help or f"the functions are {self.listing((*self.names.roles, *FUNCTIONS))}"
            raise ExpressionError("expression-name", f"unknown function {quote(name)}", help, lexeme.offset)
        self.take()
        arguments: list[Part] = []
        while self.current.kind != ")":
            arguments.append(self.parse(1))
            if self.current.kind != ")":
                self.expect(",", "separate arguments with `,` and close the call with `)`")
        end = self.take().end
        if name == "eval":
            part = self.eval_call(lexeme, arguments, end)
        elif name in self.names.roles:
            part = self.role_call(lexeme, arguments, end)
        else:
            part = self.function_call(lexeme, arguments, end)
        return self.subscripted(part)

    def eval_call(self, lexeme: Lexeme, arguments: list[Part], end: int) -> Part:
        if not self.names.allow_eval:
            raise ExpressionError(
                "expression-name",
                "`eval` stands in a condition that a rule carries",
                "only the matcher may call `eval`; write the condition itself",
                lexeme.offset,
            )
        self.check_arity(lexeme, arguments, 1)
        field = arguments[0]
        if not isinstance(field.expr, Field):
            help = f"`eval` takes a field of the rule, as in `eval(p{self.names.suffix}.when)`"
            raise self.misfit(field, "`eval`", help)
        return self.part(Eval(field.expr.name), Kind.CONDITION, lexeme.offset, end, field)

    def role_call(self, lexeme: Lexeme, arguments: list[Part], end: int) -> Part:
        name = str(lexeme.value)
        self.check_arity(lexeme, arguments, self.names.roles[name])
        for argument in arguments:
            if argument.kind not in TEXTS:
                help = "roles and domains are texts: `r.x`, `p.x` or a text in quotes"
                raise self.misfit(argument, quote(name), help)
        expr = RoleCall(name, tuple(argument.expr for argument in arguments))
        return self.part(expr, Kind.CONDITION, lexeme.offset, end, *arguments)

    def function_call(self, lexeme: Lexeme, arguments: list[Part], end: int) -> Part:
        name = str(lexeme.value)
        function = FUNCTIONS[name]
        self.check_arity(lexeme, arguments, function.arity)
        for position, argument in enumerate(arguments):
            if position in function.patterns:
                self.check_pattern(function, argument)
            elif argument.kind not in TEXTS:
                raise self.misfit(argument, quote(name), "matching functions compare texts")
        expr = Call(name, tuple(argument.expr for argument in arguments))
        return self.part(expr, Kind.CONDITION, lexeme.offset, end, *arguments)

    def check_pattern(self, function: Function, argument: Part) -> None:
        """A pattern comes from the rule or stands in the text: what a request says is data, never a pattern."""
        pattern = argument.expr
        if isinstance(pattern, Field):
            return
        if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
            what = "a time" if function.name == "timeMatch" else "the pattern"
            raise self.misfit(
                argument,
                f"{quote(function.name)} as {what}",
                f"{what} is a field of the rule (`p{self.names.suffix}.x`) or a text in quotes; "
                "what a request says is data, never a pattern",
            )
        if function.name == "timeMatch":
            if pattern.value != "_" and parse_time(pattern.value) is None:
                raise ExpressionError(
                    "expression-type",
                    f"{quote(pattern.value)} is not a time",
                    "write `YYYY-MM-DD hh:mm:ss` (UTC), or `_` for an open end",
                    argument.start,
                )
            return
        try:
            compile_pattern(function.name, pattern.value)
        except PatternError as error:
            raise ExpressionError("pattern-syntax", error.message, error.help, argument.start) from None

    def check_arity(self, lexeme: Lexeme, arguments: list[Part], arity: int) -> None:
        if len(arguments) != arity:
            noun = "argument" if arity == 1 else "arguments"
            raise ExpressionError(
                "expression-type",
                f"{quote(str(lexeme.value))} is given {len(arguments)} arguments and takes {arity}",
                f"give it {arity} {noun}",
                lexeme.offset,
            )

    # Checks and errors

    def condition(self, part: Part) -> Part:
        if part.kind not in CONDITIONS:
            help = "compare it with something, as in `r.x == p.x`"
            if part.kind is Kind.LIST:
                help = "a list stands only on the right of `in`"
            elif part.kind is Kind.MAP:
                help = "name the attribute that is meant, as in `r.context.mfa`"
            elif isinstance(part.expr, Field):
                help = f"compare it, or write `eval({self.source(part)})` if it holds a condition"
            raise ExpressionError(
                "expression-type", f"{quote(self.source(part))} is {part.kind.value}, not a condition", help, part.start
            )
        return part

    def number(self, part: Part, operator: str) -> Part:
        if part.kind not in NUMBERS:
            raise self.misfit(part, quote(operator), f"{quote(operator)} takes numbers")
        return part

    def misfit(self, part: Part, where: str, help: str) -> ExpressionError:
        message = f"{quote(self.source(part))} is {part.kind.value}, which {where} does not take"
        return ExpressionError("expression-type", message, help, part.start)

    def expect(self, kind: str, help: str) -> Lexeme:
        if self.current.kind != kind:
            raise self.unexpected(help)
        return self.take()

    def unexpected(self, help: str = "") -> ExpressionError:
        lexeme = self.current
        if lexeme.kind == "end":
            message = "the expression ends too early"
            help = help or "an operand is missing after the last operator, or a bracket is not closed"
        else:
            message = f"unexpected {quote(self.text[lexeme.offset : lexeme.end])}"
            word = str(lexeme.value)
            if word in {"if", "else", "for", "is", "lambda"}:
                help = f"{quote(word)} of Python is not part of the language"
            help = help or "join conditions with `&&` and `||`; close every bracket"
        return ExpressionError("expression-syntax", message, help, lexeme.offset)

    def source(self, part: Part) -> str:
        return self.text[part.start : part.end]

    @staticmethod
    def listing(names: Iterable[str]) -> str:
        return ", ".join(quote(name) for name in names) or "none"
