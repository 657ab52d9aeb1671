"""What the operators of the expression language mean, on values alone.

Casbin matchers run as Python in pycasbin, so equality, order and membership are Python's; arithmetic is
narrower (numbers, and `+` on two texts), so that no expression can build a huge value.
"""

from collections.abc import Callable
from typing import Any

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
    Negate,
    Not,
    Or,
    RoleCall,
    Sequence,
    Token,
)

MAX_TEXT = 100_000


class EvaluationError(Exception):
    """A condition could not be evaluated: the message says why, for an operator; the decision is a deny."""


def kind_of(value: Any) -> str:
    """The name of a value's kind in error texts: text, number, boolean, list, map or nothing."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    if value is None:
        return "nothing"
    return "a map" if hasattr(value, "keys") else "a list"


def _number(op: str, left: Any, right: Any) -> None:
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise EvaluationError(f"`{op}` is given {kind_of(left)} and {kind_of(right)}")


def compare(op: str, left: Any, right: Any) -> bool:
    """`left op right`; raises EvaluationError when the two have no order."""
    if op == "==":
        return bool(left == right)
    if op == "!=":
        return bool(left != right)
    if not (isinstance(left, str) and isinstance(right, str)):
        _number(op, left, right)
    if op == "<":
        return bool(left < right)
    if op == "<=":
        return bool(left <= right)
    if op == ">":
        return bool(left > right)
    return bool(left >= right)


def calculate(op: str, left: Any, right: Any) -> Any:
    """`left op right` for `+ - * / %`; raises EvaluationError on wrong kinds, zero division and overflow."""
    if op == "+" and isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > MAX_TEXT:
            raise EvaluationError(f"`+` would make a text of more than {MAX_TEXT} characters")
        return left + right
    _number(op, left, right)
    try:
        if op == "+":
            return left + right
        if op == "-":
            return left - right
        if op == "*":
            return left * right
        return left / right if op == "/" else left % right
    except (ZeroDivisionError, OverflowError) as error:
        raise EvaluationError(f"`{op}` fails: {error}") from None


def contains(container: Any, item: Any) -> bool:
    """`item in container`, as in Python: member of a list, key of a map, part of a text."""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise EvaluationError(f"`in` looks for {kind_of(item)} in text")
        return item in container
    if isinstance(container, list | tuple):
        return item in container
    if hasattr(container, "keys"):
        return isinstance(item, str) and item in container
    raise EvaluationError(f"`in` is given {kind_of(container)} to look in")


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of an expression."""
    match expr:
        case And(operands) | Or(operands):
            return operands
        case Not(operand) | Negate(operand):
            return (operand,)
        case Compare(_, left, right) | Arithmetic(_, left, right):
            return (left, right)
        case In(item, container):
            return (item, container)
        case Call(_, arguments) | RoleCall(_, arguments):
            return arguments
        case Sequence(items):
            return items
        case Attribute(base, _):
            return (base,)
    return ()


def rebuild(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The same expression with `change` applied to each direct part."""
    match expr:
        case And(operands):
            return And(tuple([change(part) for part in operands]))
        case Or(operands):
            return Or(tuple([change(part) for part in operands]))
        case Not(operand):
            return Not(change(operand))
        case Negate(operand):
            return Negate(change(operand))
        case Compare(op, left, right):
            return Compare(op, change(left), change(right))
        case Arithmetic(op, left, right):
            return Arithmetic(op, change(left), change(right))
        case In(item, container):
            return In(change(item), change(container))
        case Call(function, arguments):
            return Call(function, tuple([change(part) for part in arguments]))
        case RoleCall(definition, arguments):
            return RoleCall(definition, tuple([change(part) for part in arguments]))
        case Sequence(items):
            return Sequence(tuple([change(part) for part in items]))
    return expr


def fields_of(expr: Expr) -> frozenset[str]:
    """The policy fields that an expression reads, those that carry conditions included."""
    if isinstance(expr, Field):
        return frozenset((expr.name,))
    if isinstance(expr, Eval):
        return frozenset((expr.field,))
    return frozenset[str]().union(*[fields_of(part) for part in children(expr)])


def reads_request(expr: Expr) -> bool:
    """Whether an expression depends on the request (or on who holds which role)."""
    if isinstance(expr, Token | Attribute | RoleCall | Eval):
        return True
    # timeMatch has no request argument and yet asks for the request's time.
    if isinstance(expr, Call) and expr.function == "timeMatch":
        return True
    return any(reads_request(part) for part in children(expr))


_LEVELS = {"or": 1, "and": 2, "not": 3, "compare": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6, "unary": 7, "atom": 8}


def write_expression(expr: Expr, suffix: str = "") -> str:
    """The expression as matcher text, with the fewest parentheses; `suffix` is that of `r2.`/`p2.`."""

    def write(node: Expr, outer: int) -> str:
        text, level = form(node)
        return f"({text})" if level < outer else text

    def form(node: Expr) -> tuple[str, int]:
        match node:
            case Or(operands):
                return " || ".join([write(part, 2) for part in operands]), _LEVELS["or"]
            case And(operands):
                return " && ".join([write(part, 3) for part in operands]), _LEVELS["and"]
            case Not(operand):
                return f"!{write(operand, 8)}", _LEVELS["not"]
            case Compare(op, left, right):
                return f"{write(left, 5)} {op} {write(right, 5)}", _LEVELS["compare"]
            case In(item, container):
                return f"{write(item, 5)} in {write(container, 5)}", _LEVELS["compare"]
            case Arithmetic(op, left, right):
                level = _LEVELS[op]
                return f"{write(left, level)} {op} {write(right, level + 1)}", level
            case Negate(operand):
                return f"-{write(operand, 7)}", _LEVELS["unary"]
            case Call(name, arguments) | RoleCall(name, arguments):
                return f"{name}({', '.join([write(part, 0) for part in arguments])})", _LEVELS["atom"]
            case Sequence(items):
                return f"[{', '.join([write(part, 0) for part in items])}]", _LEVELS["atom"]
            case Eval(field):
                return f"eval(p{suffix}.{field})", _LEVELS["atom"]
            case Token(name):
                return f"r{suffix}.{name}", _LEVELS["atom"]
            case Field(name):
                return f"p{suffix}.{name}", _LEVELS["atom"]
            case Attribute(base, name):
                return f"{write(base, 8)}.{name}", _LEVELS["atom"]
            case Const(value):
                if isinstance(value, str):
                    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
                    return f'"{quoted}"', _LEVELS["atom"]
                return repr(value), _LEVELS["atom"]
        raise TypeError(node)

    return write(expr, 0)
