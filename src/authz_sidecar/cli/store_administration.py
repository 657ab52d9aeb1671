"""The administration of a store itself, by whoever can write it: the same calls as those of a server's client."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from authz_sidecar.cli.terminal import Terminal
from authz_sidecar.directory.administration.identity_administration import IdentityAdministration
from authz_sidecar.directory.administration.identity_import import Existing, Imported, ImportRow
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.storage.records import (
    Actor,
    AssignmentRecord,
    GrantRecord,
    IdentityRecord,
    Issued,
    KeyRecord,
    Page,
    Rotated,
    ShareRecord,
)
from authz_sidecar.directory.storage.store import Store
from authz_sidecar.values.identity import IdentityKind


class StoreAdministration:
    """Does everything as `actor`. The bundle in `policies` is read once something is to be kept to its rules."""

    def __init__(self, store: Store, actor: Actor, terminal: Terminal, policies: Path) -> None:
        self.store = store
        self.actor = actor
        self._terminal = terminal
        self._policies = policies
        self._identities = IdentityAdministration(store, lambda: self._policy)
        self._credentials = CredentialAdministration(store, lambda: self._policy)

    @cached_property
    def _policy(self) -> PolicyView:
        from authz_sidecar.cli.policy_view import read_policy_view

        return read_policy_view(self._terminal, self._policies)

    # --- identities

    def create_identity(
        self,
        record: IdentityRecord,
        roles: Sequence[str] = (),
        *,
        justification: str = "",
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> IdentityRecord:
        """Make an identity, with these roles or the default one."""
        made: IdentityRecord = self._identities.create_identity(
            self.actor,
            record,
            roles,
            justification=justification,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        ).record
        return made

    def get_identity(self, id: str) -> IdentityRecord:
        """One identity."""
        return self._identities.get_identity(id)

    def list_identities(
        self,
        *,
        company: str | None = None,
        kind: IdentityKind | None = None,
        role: str = "",
        prefix: str = "",
        active: bool | None = None,
        page_size: int = 100,
        page_token: str = "",
    ) -> Page:
        """A page of identities."""
        return self._identities.list_identities(
            company=company,
            kind=kind,
            role=role,
            prefix=prefix,
            active=active,
            page_size=page_size,
            page_token=page_token,
        )

    def update_identity(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> IdentityRecord:
        """Change these fields of an identity; `expect` is the revision that it must still have."""
        changed: IdentityRecord = self._identities.update_identity(
            self.actor, id, changes, expect=expect, justification=justification, dry_run=dry_run
        ).record
        return changed

    def delete_identity(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """Remove an identity with all that it holds."""
        self._identities.delete_identity(self.actor, id, expect=expect, justification=justification, dry_run=dry_run)

    def import_identities(
        self,
        rows: Iterable[ImportRow],
        *,
        existing: Existing,
        justification: str,
        dry_run: bool,
        progress: Callable[[Imported], None],
    ) -> Imported:
        """Make many identities, hundreds in a transaction."""
        return self._identities.import_identities(
            self.actor, rows, existing=existing, justification=justification, dry_run=dry_run, progress=progress
        )

    # --- what they hold

    def create_assignment(
        self, record: AssignmentRecord, *, replace: bool = False, idempotency_key: str = "", dry_run: bool = False
    ) -> AssignmentRecord:
        """Assign a role; with `replace` in the place of all others."""
        made: AssignmentRecord = self._identities.create_assignment(
            self.actor, record, replace=replace, idempotency_key=idempotency_key, dry_run=dry_run
        ).record
        return made

    def list_assignments(
        self,
        *,
        identity: str = "",
        role: str = "",
        company: str | None = None,
        break_glass: bool = False,
        page_size: int = 100,
        page_token: str = "",
    ) -> Page:
        """A page of assignments."""
        return self._identities.list_assignments(
            identity=identity,
            role=role,
            company=company,
            break_glass=break_glass,
            page_size=page_size,
            page_token=page_token,
        )

    def delete_assignment(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """Take a role away."""
        self._identities.delete_assignment(self.actor, id, expect=expect, justification=justification, dry_run=dry_run)

    def create_grant(self, record: GrantRecord, *, idempotency_key: str = "", dry_run: bool = False) -> GrantRecord:
        """Grant something to one identity."""
        made: GrantRecord = self._identities.create_grant(
            self.actor, record, idempotency_key=idempotency_key, dry_run=dry_run
        ).record
        return made

    def list_grants(
        self, *, identity: str = "", company: str | None = None, page_size: int = 100, page_token: str = ""
    ) -> Page:
        """A page of grants of identities."""
        return self._identities.list_grants(
            identity=identity, company=company, page_size=page_size, page_token=page_token
        )

    def delete_grant(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """Take a grant away."""
        self._identities.delete_grant(self.actor, id, expect=expect, justification=justification, dry_run=dry_run)

    def create_share(self, record: ShareRecord, *, idempotency_key: str = "", dry_run: bool = False) -> ShareRecord:
        """Share an object with an identity."""
        made: ShareRecord = self._identities.create_share(
            self.actor, record, idempotency_key=idempotency_key, dry_run=dry_run
        ).record
        return made

    def list_shares(
        self, *, identity: str = "", company: str | None = None, page_size: int = 100, page_token: str = ""
    ) -> Page:
        """A page of shares."""
        return self._identities.list_shares(
            identity=identity, company=company, page_size=page_size, page_token=page_token
        )

    def update_share(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> ShareRecord:
        """Change these fields of a share."""
        changed: ShareRecord = self._identities.update_share(
            self.actor, id, changes, expect=expect, justification=justification, dry_run=dry_run
        ).record
        return changed

    def delete_share(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """End a share."""
        self._identities.delete_share(self.actor, id, expect=expect, justification=justification, dry_run=dry_run)

    # --- credentials

    def create_key(
        self,
        identity: str,
        name: str,
        *,
        expires_at: float | None = None,
        justification: str = "",
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> Issued:
        """Make an API key."""
        issued: Issued = self._credentials.create_key(
            self.actor,
            identity,
            name,
            expires_at=expires_at,
            justification=justification,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        ).record
        return issued

    def get_key(self, id: str) -> KeyRecord:
        """One key."""
        return self._credentials.get_key(id)

    def list_keys(
        self,
        *,
        identity: str = "",
        company: str | None = None,
        include_ended: bool = False,
        page_size: int = 100,
        page_token: str = "",
    ) -> Page:
        """A page of keys."""
        return self._credentials.list_keys(
            identity=identity,
            company=company,
            include_ended=include_ended,
            page_size=page_size,
            page_token=page_token,
        )

    def update_key(
        self, id: str, changes: Mapping[str, Any], *, expect: int | None = None, justification: str = ""
    ) -> KeyRecord:
        """Change these fields of a key."""
        changed: KeyRecord = self._credentials.update_key(
            self.actor, id, changes, expect=expect, justification=justification
        ).record
        return changed

    def rotate_key(
        self,
        id: str,
        *,
        overlap_seconds: float = 0.0,
        expires_at: float | None = None,
        justification: str = "",
        idempotency_key: str = "",
    ) -> Issued:
        """Make a new key in the place of one."""
        rotated: Rotated = self._credentials.rotate_key(
            self.actor,
            id,
            overlap_seconds=overlap_seconds,
            expires_at=expires_at,
            justification=justification,
            idempotency_key=idempotency_key,
        ).record
        return rotated

    def revoke_key(self, id: str, *, justification: str = "") -> KeyRecord:
        """End a key for good."""
        revoked: KeyRecord = self._credentials.revoke_key(self.actor, id, justification=justification).record
        return revoked

    def set_password(self, identity: str, password: str, *, justification: str = "") -> None:
        """Give a user another password, or none."""
        self._credentials.set_password(self.actor, identity, password, justification=justification)

    def sign_in(self, identity: str, password: str) -> Issued:
        """Trade a password for an access token."""
        issued: Issued = self._credentials.sign_in(self.actor, identity, password).record
        return issued

    def create_token(self, identity: str, *, justification: str = "") -> Issued:
        """Make an access token."""
        issued: Issued = self._credentials.create_token(self.actor, identity, justification=justification).record
        return issued

    def list_tokens(self, identity: str, *, page_size: int = 100, page_token: str = "") -> Page:
        """A page of an identity's access tokens."""
        return self._credentials.list_tokens(identity, page_size=page_size, page_token=page_token)

    def revoke_tokens(self, *, id: str = "", identity: str = "", justification: str = "") -> int:
        """End one access token, or all of an identity; gives how many held until now."""
        if id:
            self._credentials.revoke_token(self.actor, id, justification=justification)
            return 1
        return int(self._credentials.revoke_tokens(self.actor, identity, justification=justification).record)
