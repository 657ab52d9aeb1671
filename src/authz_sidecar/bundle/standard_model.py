"""The standard model of YAML bundles, in its two published forms.

A bundle's `model.conf` holds one of them, so that what decides is in git too. The extended form differs in the
id (a beginning followed by `*` matches, `keyMatch`), in one more field of a rule, its condition `when`, and in
the two tokens that conditions read. Each is a model that any Casbin loads.
"""

from functools import lru_cache
from typing import Literal, TypeAlias

from authz_sidecar.model.conf import parse_model
from authz_sidecar.model.model import Model

Form: TypeAlias = Literal["basic", "extended"]

_HEAD = """\
# The standard model ({form} form) of an authz-sidecar bundle written in YAML.
# `authz-sidecar render --model {form}` prints it; a bundle with another model is a plain Casbin bundle.
#
# sub    the identity that asks              p.sub    a role (`role:NAME`), or one identity
# dom    the company of the object           p.dom    `*` in rules of roles; a company, or `*`, in those of one identity
# type   the object's type                   p.type   a type, or `*`
# id     the object's id                     p.id     {id}
# act    what it wants to do                 p.act    an action, or `*`
# owner  the identity that owns the object   p.scope  platform, company or own
"""

BASIC = (
    _HEAD.format(form="basic", id="an id, or `*`")
    + """
[request_definition]
r = sub, dom, type, id, act, owner

[policy_definition]
p = sub, dom, type, id, act, scope, eft

# identity, role, company; the company `*` means that the role is held on the platform
[role_definition]
g = _, _, _

# a deny from any role wins
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

# holds the role on the platform, or in the object's company unless the rule is for the platform;
# an own-scope rule needs the owner to be the subject
[matchers]
m = (g(r.sub, p.sub, "*") || p.scope != "platform" && r.dom != "" && g(r.sub, p.sub, r.dom)) \
&& (p.dom == "*" || p.dom == r.dom) && (p.scope != "own" || r.sub == r.owner) \
&& (p.type == "*" || p.type == r.type) && (p.id == "*" || p.id == r.id) && (p.act == "*" || p.act == r.act)
"""
)

EXTENDED = (
    _HEAD.format(form="extended", id="an id, `*`, or a beginning followed by `*`")
    + """\
# obj    the object with its attributes      p.when   a condition over the request, `True` where there is none
# context  facts about the request itself

[request_definition]
r = sub, dom, type, id, act, owner, obj, context

[policy_definition]
p = sub, dom, type, id, act, scope, eft, when

# identity, role, company; the company `*` means that the role is held on the platform
[role_definition]
g = _, _, _

# a deny from any role wins
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

# holds the role on the platform, or in the object's company unless the rule is for the platform;
# an own-scope rule needs the owner to be the subject
[matchers]
m = (g(r.sub, p.sub, "*") || p.scope != "platform" && r.dom != "" && g(r.sub, p.sub, r.dom)) \
&& (p.dom == "*" || p.dom == r.dom) && (p.scope != "own" || r.sub == r.owner) \
&& (p.type == "*" || p.type == r.type) && keyMatch(r.id, p.id) && (p.act == "*" || p.act == r.act) && eval(p.when)
"""
)

ALWAYS = "True"
"""The condition of a rule that has none, in the extended form."""


@lru_cache(maxsize=2)
def standard_model(form: Form) -> Model:
    """One of the published forms, read."""
    model, problems = parse_model(BASIC if form == "basic" else EXTENDED)
    if model is None:
        raise AssertionError(f"the {form} standard model does not parse: {problems}")
    return model


def form_of(model: Model) -> Form | None:
    """Which published form `model` is, whatever its spacing and comments; None if it is neither."""
    forms: tuple[Form, Form] = ("basic", "extended")
    for form in forms:
        if not differences(model, form):
            return form
    return None


def differences(model: Model, form: Form) -> list[str]:
    """The definitions in which `model` is not the published form: `r`, `p`, `g`, `e`, `m`, or another's name."""
    standard = standard_model(form)
    found = [f"m{suffix}" for suffix in model.sections if suffix] + [name for name in model.roles if name != "g"]
    if "" not in model.sections:
        return [*found, "m"]
    section, wanted = model.sections[""], standard.sections[""]
    if section.tokens != wanted.tokens:
        found.append("r")
    if section.fields != wanted.fields:
        found.append("p")
    role = model.roles.get("g")
    if role is None or (role.has_domain, role.parameters) != (True, 0):
        found.append("g")
    if section.effect is not wanted.effect:
        found.append("e")
    if section.matcher != wanted.matcher:
        found.append("m")
    return found
