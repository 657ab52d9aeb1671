"""Copies of a store, and what they hold in a form that can be compared."""

from typing import Any

import msgspec

from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.memory.assembly import Assembler
from authz_sidecar.directory.memory.copy import Contents, DirectoryCopy
from authz_sidecar.directory.memory.loading import load
from authz_sidecar.directory.storage.records import Actor
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.directory_rules import DirectoryRules, RoleFacts

ACTOR = Actor("operator:tester")
TYPES = {"folder": ("read", "update"), "report": ("read",)}
RULES = DirectoryRules(
    form="extended",
    roles={
        "CLERK": RoleFacts("company", "additive"),
        "CHIEF": RoleFacts("company", "additive"),
        "ADMIN": RoleFacts("platform", "additive"),
    },
    object_types=TYPES,
)
POLICY = PolicyView(RULES, "version")


def administration(store: Store) -> tuple[IdentityAdministration, CredentialAdministration]:
    """The operations on a store."""
    return IdentityAdministration(store, lambda: POLICY), CredentialAdministration(store, lambda: POLICY)


def loaded(store: Store, companies: frozenset[str] | None = None) -> DirectoryCopy:
    """A copy of all that the store has now."""
    copy = DirectoryCopy(companies)
    copy.replace(load(store, Assembler(companies)))
    return copy


def told(contents: Contents) -> Any:
    """What contents say, as values that are equal if they say the same. Sets of roles are equal only to themselves."""
    identities = {
        id: (identity.roles.by_company, msgspec.structs.replace(identity, roles=None))
        for id, identity in contents.identities.items()
    }
    return contents.epoch, contents.revision, identities, contents.keys, contents.tokens, contents.elsewhere
