"""How a request fills the tokens of a model (`r.sub`, `r.obj`…)."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from authz_sidecar.model.semantics import EvaluationError, kind_of
from authz_sidecar.values import Request
from authz_sidecar.values.request import SOURCES

OBJECT_PARTS = ("type", "id", "company", "owner")

Getter = Callable[[Request], Any]


def read_tokens(tokens: tuple[str, ...]) -> Getter:
    """A function that gives the values of `tokens`: `()` for none, the value itself for one, else a tuple.

    Every token must be one that the request itself fills.
    """
    if not tokens:
        return _nothing
    return attrgetter(*[SOURCES[token] for token in tokens])


def _nothing(_request: Request) -> tuple[()]:
    return ()


def read_token(token: str) -> Getter:
    """A function that gives the value of one token, from the request's parts or its context."""
    source = SOURCES.get(token)
    if source is not None:
        return attrgetter(source)

    def from_context(request: Request) -> Any:
        try:
            return request.context[token]
        except KeyError:
            raise EvaluationError(f"the request's context has no `{token}`") from None

    return from_context


def read_attribute(token: str, name: str) -> Getter:
    """A function that gives `r.token.name`; it raises EvaluationError when the request has no such attribute."""
    if token == "obj":
        if name in OBJECT_PARTS:
            return attrgetter(name)
        return _from_map("object_attributes", name, "the object")
    if token == "sub":
        return _of_subject(name)
    value = read_token(token)
    return lambda request: member(value(request), name, f"`r.{token}`")


def _from_map(part: str, name: str, what: str) -> Getter:
    read = attrgetter(part)
    return lambda request: member(read(request), name, what)


def _of_subject(name: str) -> Getter:
    """What the request says of its subject; what it does not say, the directory may know."""

    def read(request: Request) -> Any:
        if request.identity is not None and name not in request.subject_attributes:
            return member(request.identity.attributes, name, "the subject")
        return member(request.subject_attributes, name, "the subject")

    return read


def member(container: Any, name: str, what: str) -> Any:
    """`container.name` for a map; raises EvaluationError for anything else or a missing name."""
    if not isinstance(container, Mapping):
        raise EvaluationError(f"{what} is {kind_of(container)} and has no attribute `{name}`")
    if name not in container:
        raise EvaluationError(f"{what} has no attribute `{name}`")
    return container[name]
