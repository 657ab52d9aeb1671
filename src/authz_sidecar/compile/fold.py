"""Partial evaluation: a condition, seen from one rule.

A rule's fields are constants, so a condition that mixes `p.…` and `r.…` shrinks, rule by rule, to what still
depends on the request; most shrink to `True` and cost nothing when deciding.
"""

from collections.abc import Mapping

from authz_sidecar.model.expression import (
    And,
    Arithmetic,
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
    Sequence,
)
from authz_sidecar.model.patterns import PatternError, compile_pattern
from authz_sidecar.model.semantics import EvaluationError, calculate, compare, contains, rebuild

TRUE = Const(True)
FALSE = Const(False)


def specialise(expr: Expr, values: Mapping[str, str], conditions: Mapping[str, Expr]) -> Expr:
    """`expr` with the rule's field `values` filled in and constants folded.

    `conditions` holds, by field name, the parsed conditions that `eval(p.field)` stands for. A constant part
    that fails to evaluate is left as it is, so that it fails when (and only when) it is reached.
    """
    if isinstance(expr, Field):
        return Const(values[expr.name])
    if isinstance(expr, Eval):
        return specialise(conditions[expr.field], values, conditions)
    return _fold(rebuild(expr, lambda part: specialise(part, values, conditions)))


def conjoin(parts: list[Expr]) -> Expr:
    """The conjunction of `parts`, folded; `True` when there are none."""
    return _fold(And(tuple(parts)))


def _fold(expr: Expr) -> Expr:
    try:
        match expr:
            case And(operands):
                kept: list[Expr] = []
                for part in operands:
                    if part == FALSE:
                        return FALSE
                    if isinstance(part, And):
                        kept.extend(part.operands)
                    elif part != TRUE:
                        kept.append(part)
                return TRUE if not kept else kept[0] if len(kept) == 1 else And(tuple(kept))
            case Or(operands):
                kept = []
                for part in operands:
                    if part == TRUE and not kept:
                        return TRUE
                    if isinstance(part, Or):
                        kept.extend(part.operands)
                    elif part != FALSE:
                        kept.append(part)
                return FALSE if not kept else kept[0] if len(kept) == 1 else Or(tuple(kept))
            case Not(Const(value)):
                return Const(not value)
            case Negate(Const(value)) if isinstance(value, int | float):
                return Const(-value)
            case Compare(op, Const(left), Const(right)):
                return Const(compare(op, left, right))
            case Arithmetic(op, Const(left), Const(right)):
                return Const(calculate(op, left, right))
            case In(Const(item), Const(container)):
                return Const(contains(container, item))
            case In(Const(item), Sequence(items)):
                members = [part.value for part in items if isinstance(part, Const)]
                if len(members) == len(items):
                    return Const(contains(members, item))
            case Call(function, (Const(value), Const(pattern))) if function != "timeMatch" and isinstance(value, str):
                return Const(compile_pattern(function, str(pattern)).test(value))
    except (EvaluationError, PatternError, ValueError):
        return expr
    return expr
