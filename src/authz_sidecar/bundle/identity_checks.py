"""What the manifest says about identities and object types, against the roles of the bundle and the sidecar's names."""

from authz_sidecar.bundle.definitions import Manifest, Role
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.identity_rules import DeniedSettings
from authz_sidecar.bundle.own_types import OWN_PREFIX, OWN_TYPES
from authz_sidecar.bundle.policy_files import Policy
from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.values.span import Span


def check_identity_rules(
    manifest: Manifest, policy: Policy | None, findings: Findings, *, companies: bool = True
) -> None:
    """Check the section `identities`. Without a policy, in a plain Casbin bundle, roles are not looked up: any name
    can be one. `companies` says whether roles can be held in companies at all."""
    settings = manifest.identities
    kinds = {"users": settings.users, "service_accounts": settings.service_accounts}
    if not any(kind.roles for kind in kinds.values()):
        for field in ("default_role", "role_required", "own_company_only"):
            if getattr(settings, field):
                findings.error(
                    settings.key_span(field),
                    "manifest-identities",
                    f"{quote(field)} is given, and neither users nor service accounts hold roles",
                    f"remove it, or `roles: false` from {listed(kinds)}",
                )
    elif settings.own_company_only and not companies:
        findings.error(
            settings.key_span("own_company_only"),
            "manifest-identities",
            "`own_company_only` is given, and roles of this model are held in no company",
            "remove it, or give `g` of the model a third field, the company",
        )
    for place, kind in kinds.items():
        if policy is None and kind.denied:
            findings.error(
                kind.key_span("denied"),
                "manifest-identities",
                f"`denied` of {quote(place)} is for bundles with YAML definitions",
                "remove it; write rows of `p` that deny",
            )
        for denied in kind.denied if policy is not None else ():
            _check_denied(manifest, denied, findings)
    if policy is None:
        return
    if settings.default_role is not None:
        span = settings.value_span("default_role")
        role = _role(settings.default_role, span, policy, findings)
        if role is not None and role.kind == "additive":
            findings.error(
                span,
                "manifest-identities",
                f"the default role {quote(settings.default_role)} is additive: it is held beside another role",
                "name a role that is `kind: primary` or `kind: sole`",
            )
    for name in settings.role_tokens:
        _role(name, settings.value_span("role_tokens", name), policy, findings)
    for index, name in enumerate(settings.impersonated_platform_roles):
        span = settings.value_span("impersonated_platform_roles", index)
        role = _role(name, span, policy, findings)
        if role is not None and role.assigned != "platform":
            findings.error(
                span,
                "manifest-identities",
                f"{quote(name)} is a company role: a service account may act for whoever holds only such",
                "remove it; only platform roles are named here",
            )


def _check_denied(manifest: Manifest, denied: DeniedSettings, findings: Findings) -> None:
    """Only what there is can be denied: a name that is misspelt would deny nothing."""
    types = {**{name: kind.actions for name, kind in manifest.object_types.items()}, **OWN_TYPES}
    if denied.object not in types:
        findings.error(
            denied.value_span("object"),
            "unknown-object-type",
            f"unknown object type {quote(denied.object)}",
            suggest(denied.object, types, f"the manifest declares {listed(manifest.object_types, 'and')}"),
        )
        return
    known = types[denied.object]
    for index, action in enumerate(denied.actions):
        if action not in known:
            findings.error(
                denied.value_span("actions", index),
                "unknown-action",
                f"unknown action {quote(action)} of {quote(denied.object)}",
                suggest(action, known, f"its actions are {listed(known, 'and')}"),
            )


def _role(name: str, span: Span, policy: Policy, findings: Findings) -> Role | None:
    if name in policy.roles:
        return policy.roles[name]
    if policy.complete and name not in policy.refused.get("roles", set()):
        otherwise = (
            f"the bundle defines {listed(policy.roles, 'and')}" if policy.roles else "the bundle defines no role"
        )
        findings.error(span, "unknown-role", f"unknown role {quote(name)}", suggest(name, policy.roles, otherwise))
    return None


def check_own_types(manifest: Manifest, findings: Findings) -> None:
    """Object types of the sidecar's own are not for a manifest to declare."""
    for name, kind in manifest.object_types.items():
        if name.startswith(OWN_PREFIX):
            known = f"grants may name {listed(OWN_TYPES, 'and')} without"
            findings.error(
                kind.span,
                "field-value",
                f"the object type {quote(name)} is declared, and {quote(OWN_PREFIX)} is kept for the sidecar itself",
                f"remove it: {known}" if name in OWN_TYPES else f"rename it; {known}",
            )
