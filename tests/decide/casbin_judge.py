"""pycasbin as the judge: the same text is decided by both engines and the answers are compared."""

from collections.abc import Mapping
from typing import Any

import casbin
from casbin.core_enforcer import EnforceContext
from casbin.model import Model
from casbin.persist.adapters.string_adapter import StringAdapter
from casbin.util import builtin_operators

from authz_sidecar.bundle.parse import parse_bundle
from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.decide import Decider
from authz_sidecar.values import Request


class Text(str):  # noqa: SLOT000 - the point is that it takes any attribute
    """Text with attributes: what a request token is to pycasbin when a matcher reads both."""

    def __new__(cls, value: str, attributes: Mapping[str, Any]) -> "Text":
        """The text itself, with one attribute per entry."""
        made = super().__new__(cls, value)
        for name, attribute in attributes.items():
            setattr(made, name, attribute)
        return made


class Raised(Exception):  # noqa: N818 - an outcome of the judge, not an error of ours
    """pycasbin raised instead of deciding."""


FUNCTIONS = {
    "keyMatch": builtin_operators.key_match_func,
    "keyMatch2": builtin_operators.key_match2_func,
    "keyMatch3": builtin_operators.key_match3_func,
    "keyMatch4": builtin_operators.key_match4_func,
    "keyMatch5": builtin_operators.key_match5_func,
    "regexMatch": builtin_operators.regex_match_func,
    "globMatch": builtin_operators.glob_match_func,
}


def enforcer(
    model: str,
    policy: str,
    role_matching: Mapping[str, str] | None = None,
    domain_matching: Mapping[str, str] | None = None,
) -> casbin.Enforcer:
    """A fresh pycasbin enforcer on the given texts."""
    parsed = Model()
    parsed.load_model_from_text(model)
    made = casbin.Enforcer(parsed, StringAdapter(policy))
    for name, function in (role_matching or {}).items():
        assert made.add_named_matching_func(name, FUNCTIONS[function])
    for name, function in (domain_matching or {}).items():
        assert made.add_named_domain_matching_func(name, FUNCTIONS[function])
    return made


def values_of(tokens: tuple[str, ...], request: Request) -> list[Any]:
    """The request as pycasbin takes it: one value per token."""
    parts: dict[str, Any] = {
        "sub": Text(request.subject, request.subject_attributes),
        "dom": request.company,
        "obj": Text(
            request.object,
            {
                **request.object_attributes,
                "type": request.type,
                "id": request.id,
                "company": request.company,
                "owner": request.owner,
            },
        ),
        "type": request.type,
        "id": request.id,
        "owner": request.owner,
        "act": request.action,
        "context": request.context,
    }
    return [parts[token] if token in parts else request.context[token] for token in tokens]


def judge(made: casbin.Enforcer, request: Request) -> bool:
    """Pycasbin's decision; raises Raised when it raises."""
    tokens = tuple(token.split("_", 1)[1] for token in made.model["r"]["r" + request.section].tokens)
    values = values_of(tokens, request)
    if request.section:
        suffix = request.section
        values = [EnforceContext("r" + suffix, "p" + suffix, "e" + suffix, "m" + suffix), *values]
    try:
        return bool(made.enforce(*values))
    except Exception as error:
        raise Raised(str(error)) from error


def decider(
    model: str,
    policy: str,
    role_matching: Mapping[str, str] | None = None,
    domain_matching: Mapping[str, str] | None = None,
    link_conditions: Mapping[str, str] | None = None,
) -> Decider:
    """Our decider on the same texts."""
    files = {"model.conf": model.encode(), "policy.csv": policy.encode()}
    declared = {
        "role_matching": role_matching,
        "domain_matching": domain_matching,
        "link_conditions": link_conditions,
    }
    lines = [
        f"  {section}: {{{', '.join(f'{name}: {function}' for name, function in entries.items())}}}"
        for section, entries in declared.items()
        if entries
    ]
    if lines:
        files["manifest.yaml"] = "\n".join(["name: judged", "schema_version: 1", "casbin:", *lines, ""]).encode()
    bundle, diagnostics = parse_bundle(files, "judged")
    assert bundle is not None, diagnostics
    snapshot, diagnostics = compile_bundle(bundle)
    assert snapshot is not None, diagnostics
    return Decider(snapshot)
