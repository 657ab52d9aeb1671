"""A bundle's rules for identities in a directory, as the plain data that a snapshot carries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.bundle.standard_model import form_of
from authz_sidecar.model.expression import Expr, Field, RoleCall
from authz_sidecar.model.semantics import children
from authz_sidecar.values.directory_rules import (
    DirectoryRules,
    FlagFacts,
    GroupFacts,
    KeyRules,
    KindRules,
    RoleFacts,
    TokenRules,
)

if TYPE_CHECKING:
    from authz_sidecar.bundle.bundle import Bundle
    from authz_sidecar.bundle.definitions import Flag
    from authz_sidecar.bundle.identity_rules import KeySettings, KindSettings, TokenSettings

ROLES = "g"
"""The role definition whose links directories add to."""


def directory_rules(bundle: "Bundle") -> DirectoryRules:
    """What `bundle` says about identities in a directory. The roles of a plain Casbin bundle are the names that `g` is
    asked for: those on the right of its links, and those of rules that the matcher compares by `g`."""
    settings = bundle.manifest.identities
    rules = DirectoryRules()
    rules = msgspec.structs.replace(
        rules,
        default_role=settings.default_role or "",
        role_required=settings.role_required,
        own_company_only=settings.own_company_only,
        users=_kind_rules(settings.users, rules.users, passwords=settings.users.passwords),
        service_accounts=_kind_rules(settings.service_accounts, rules.service_accounts, passwords=False),
        role_tokens={role: _token_rules(tokens) for role, tokens in settings.role_tokens.items()},
        break_glass_seconds=_seconds(settings.break_glass.max) or rules.break_glass_seconds,
        impersonated_platform_roles=frozenset(settings.impersonated_platform_roles),
    )
    if bundle.form == "casbin":
        definition = bundle.model.roles.get(ROLES)
        domains = definition is not None and definition.has_domain
        return msgspec.structs.replace(rules, form="casbin", domains=domains, roles=_casbin_roles(bundle, domains))
    manifest = bundle.manifest
    justified = {name for name, kind in manifest.object_types.items() if kind.sensitive} | OWN_TYPES.keys()
    for domain in bundle.data_domains.values():
        if domain.sensitive:
            justified.update(domain.objects)
    built_in = frozenset(manifest.built_in_roles)
    return msgspec.structs.replace(
        rules,
        form=form_of(bundle.model) or "extended",
        domains=True,
        roles={
            name: RoleFacts(role.assigned, role.kind, name in built_in, role.sensitive)
            for name, role in bundle.roles.items()
        },
        roles_per_identity=manifest.limits.roles_per_identity or 0,
        companies_per_identity=manifest.limits.companies_per_identity or 0,
        object_types={**{name: tuple(kind.actions) for name, kind in manifest.object_types.items()}, **OWN_TYPES},
        justified=frozenset(justified),
        flags={name: _flag_facts(bundle, name, flag) for name, flag in bundle.flags.items()},
        groups=tuple(
            GroupFacts(mapping.group, tuple(mapping.roles), mapping.company) for mapping in bundle.group_mappings
        ),
    )


def _seconds(duration: str | None) -> float:
    # What reads YAML is loaded where there is YAML.
    from authz_sidecar.bundle.identity_rules import seconds_of

    return seconds_of(duration) if duration else 0.0


def _kind_rules(settings: "KindSettings", usual: KindRules, *, passwords: bool) -> KindRules:
    return KindRules(
        most=settings.max or usual.most,
        name_length=settings.name_length or usual.name_length,
        unique_names=settings.unique_names,
        roles=settings.roles,
        passwords=passwords,
        keys=_key_rules(settings.keys, usual.keys),
        tokens=_token_rules(settings.tokens) if settings.tokens else usual.tokens,
        denied=tuple((denied.object, tuple(denied.actions)) for denied in settings.denied),
        audited=settings.audited,
    )


def _key_rules(settings: "KeySettings", usual: KeyRules) -> KeyRules:
    return KeyRules(settings.max or usual.most, _seconds(settings.expiry_min), _seconds(settings.expiry_max))


def _token_rules(settings: "TokenSettings") -> TokenRules:
    return TokenRules(_seconds(settings.lifetime), settings.sliding, settings.ends_after)


def _flag_facts(bundle: "Bundle", name: str, flag: "Flag") -> FlagFacts:
    said_on = frozenset[str]()
    if not flag.default:
        said_on = frozenset(entry.subject for entry in bundle.assignments if entry.flags.get(name))
    return FlagFacts(tuple(flag.roles), flag.object, tuple(flag.actions), flag.default, said_on)


def _casbin_roles(bundle: "Bundle", domains: bool) -> Mapping[str, RoleFacts]:
    definition = bundle.model.roles.get(ROLES)
    if definition is None:
        return {}
    names: dict[str, None] = dict.fromkeys(bundle.tables[ROLES].columns[1])
    for section in bundle.model.sections.values():
        for field in sorted(_asked_fields(section.matcher)):
            names.update(dict.fromkeys(bundle.tables[section.ptype].columns[section.fields.index(field)]))
    facts = RoleFacts("company" if domains else "platform")
    return dict.fromkeys(names, facts)


def _asked_fields(expression: Expr) -> set[str]:
    """The fields of rules that `g` is asked about: `sub` in `g(r.sub, p.sub)`."""
    found: set[str] = set()
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        if isinstance(part, RoleCall) and part.definition == ROLES and isinstance(part.arguments[1], Field):
            found.add(part.arguments[1].name)
        waiting += children(part)
    return found
