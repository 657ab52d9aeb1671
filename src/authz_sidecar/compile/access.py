"""Access paths: how a conjunct of a matcher is answered without looking at every rule."""

import msgspec

from authz_sidecar.model.expression import Const, Expr, Token


class KeyAccess(msgspec.Struct, frozen=True, tag=True):
    """`r.token == p.field`: a part of the hash key.

    With `free_when` (an expression over the rule alone), rules for which it holds take any value.
    """

    token: str
    field: str
    position: int
    free_when: Expr | None = None


class RoleAccess(msgspec.Struct, frozen=True, tag=True):
    """`g(name, p.field, domain)`: the rule's field is one of the roles of `name`, itself included."""

    definition: str
    name: Token | Const
    domain: Token | Const | None
    field: str
    position: int
    free_when: Expr | None = None


class PatternAccess(msgspec.Struct, frozen=True, tag=True):
    """`keyMatch(r.token, p.field)` and its like: rules are found by the literal beginning of their pattern."""

    function: str
    token: str
    field: str
    position: int
    free_when: Expr | None = None


SetAccess = RoleAccess | PatternAccess


class BranchPlan(msgspec.Struct, frozen=True):
    """One alternative of the matcher: every conjunct in the class that answers it.

    `guards` depend on the request alone and are evaluated once; `statics` depend on the rule alone and are
    evaluated when compiling; `residual` is evaluated on the candidates that keys and sets leave. `conjuncts` holds
    the whole conjunction in the order of the matcher, for explanations.
    """

    keys: tuple[KeyAccess, ...]
    sets: tuple[SetAccess, ...]
    guards: tuple[Expr, ...]
    statics: tuple[Expr, ...]
    residual: tuple[Expr, ...]
    conjuncts: tuple[Expr, ...]

    @property
    def subject_roles(self) -> tuple[RoleAccess, ...]:
        """The accesses that find rules by the roles of the subject."""
        return tuple([access for access in self.sets if isinstance(access, RoleAccess) and access.name == Token("sub")])


class PlanLine(msgspec.Struct, frozen=True):
    """One line of `authz-sidecar plan`: the conjunct's text, what it became, and what it costs."""

    conjunct: str
    access: str
    cost: str
