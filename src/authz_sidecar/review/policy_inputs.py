"""What the decisions of a policy may depend on besides names: the time, attributes of who asks, and the context."""

from collections.abc import Iterator

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.model.expression import Attribute, Call, Expr, Token
from authz_sidecar.model.semantics import children
from authz_sidecar.values.request import SOURCES


def depends_on_time(snapshot: Snapshot) -> bool:
    """Whether the same request may be decided otherwise at another time."""
    if any(graph.conditional for graph in snapshot.graphs.values()):
        return True
    return any(map(_reads_clock, _conditions(snapshot)))


def reads_whole_context(snapshot: Snapshot) -> bool:
    """Whether a decision may depend on what is not in the context."""
    return any(map(_reads_whole_context, _conditions(snapshot)))


def reads_asker(snapshot: Snapshot) -> bool:
    """Whether a decision may depend on attributes of the subject or on the context."""
    return any(map(_reads_asker, _conditions(snapshot)))


def _conditions(snapshot: Snapshot) -> Iterator[Expr]:
    """All that a policy evaluates: matchers, and what rules keep of them."""
    for index in snapshot.sections.values():
        for branch in index.branches:
            yield from branch.plan.conjuncts
            yield from branch.residuals


def _reads_whole_context(expr: Expr) -> bool:
    """Whether the map itself is looked at, such as for whether it has a key."""
    match expr:
        case Attribute(Token(_), _):
            return False
        case Token(name):
            return SOURCES.get(name) == "context"
    return any(map(_reads_whole_context, children(expr)))


def _reads_asker(expr: Expr) -> bool:
    """Whether an attribute of the subject or something of the context is looked at."""
    match expr:
        case Attribute(Token(name), _):
            return SOURCES.get(name) in {None, "subject", "context"}
        case Token(name):
            return SOURCES.get(name) in {None, "context"}
    return any(map(_reads_asker, children(expr)))


def _reads_clock(expr: Expr) -> bool:
    return (isinstance(expr, Call) and expr.function == "timeMatch") or any(map(_reads_clock, children(expr)))
