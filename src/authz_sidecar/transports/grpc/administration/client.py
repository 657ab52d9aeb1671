"""The other end of the administration: a running sidecar is asked with records and answers with records."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import msgspec
from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from authz_sidecar._proto.authz.v1 import authenticate_pb2
from authz_sidecar._proto.authz.v1 import credential_service_pb2 as credential
from authz_sidecar._proto.authz.v1 import directory_service_pb2 as directory
from authz_sidecar._proto.authz.v1.credential_service_pb2_grpc import CredentialServiceStub
from authz_sidecar._proto.authz.v1.directory_service_pb2_grpc import DirectoryServiceStub
from authz_sidecar.directory.storage.records import (
    AssignmentRecord,
    GrantRecord,
    IdentityRecord,
    Issued,
    KeyRecord,
    Page,
    ShareRecord,
    TokenRecord,
)
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.certificates import ClientTls
from authz_sidecar.transports.grpc.administration.record_messages import (
    TIMES,
    etag,
    read_record,
    record_message,
    seconds,
)
from authz_sidecar.transports.grpc.client import CallFailedError, SidecarClient, read_reason
from authz_sidecar.transports.grpc.conversion import timestamp
from authz_sidecar.values import Reason
from authz_sidecar.values.identity import IdentityKind
from authz_sidecar.values.instant import time_text


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a credential stands for: roles are written `ROLE` or `ROLE@COMPANY`, times are seconds since 1970-01-01
    UTC."""

    subject: str
    kind: IdentityKind
    company: str
    credential: str
    expires_at: float | None
    roles: tuple[str, ...]


class AdministrationClient(SidecarClient):
    """One connection to a sidecar, as `SidecarClient`, which also administers its directory."""

    def __init__(self, address: Address, timeout: float, credential: str = "", tls: ClientTls | None = None) -> None:
        super().__init__(address, timeout, credential, tls)
        self._directory = DirectoryServiceStub(self._channel)
        self._credentials = CredentialServiceStub(self._channel)

    def authenticate(self) -> Known | Reason:
        """Whom the credential stands for, or why it stands for nobody. Raises UnknownReasonError as well."""
        answer = self._ask(
            self._authorization.Authenticate, authenticate_pb2.AuthenticateRequest(credential=self._credential)
        )
        if not answer.authenticated:
            return read_reason(answer.reason)
        with _reading():
            return Known(
                subject=answer.subject,
                kind=IdentityKind(answer.kind),
                company=answer.company,
                credential=answer.credential_name,
                expires_at=_moment(seconds(answer.expire_time)) if answer.HasField("expire_time") else None,
                roles=tuple([f"{held.role}@{held.company}" if held.company else held.role for held in answer.roles]),
            )

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
        answer = self._ask(
            self._directory.CreateIdentity,
            directory.CreateIdentityRequest(
                identity=_given(record),
                roles=roles,
                inactive=not record.active,
                justification=justification,
                idempotency_key=idempotency_key,
                dry_run=dry_run,
            ),
        )
        made: IdentityRecord = _record(answer.identity)
        return made

    def get_identity(self, id: str) -> IdentityRecord:
        """One identity."""
        answer = self._ask(self._directory.GetIdentity, directory.GetIdentityRequest(id=id))
        found: IdentityRecord = _record(answer.identity)
        return found

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
        answer = self._ask(
            self._directory.ListIdentities,
            directory.ListIdentitiesRequest(
                company=company,
                kind=0 if kind is None else int(kind),  # type: ignore[arg-type]
                role=role,
                prefix=prefix,
                active=active,
                page_size=page_size,
                page_token=page_token,
            ),
        )
        return Page(tuple([_record(found) for found in answer.identities]), answer.next_page_token)

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
        answer = self._ask(
            self._directory.UpdateIdentity,
            directory.UpdateIdentityRequest(
                identity=_changed(IdentityRecord(id=id, kind=IdentityKind.USER), changes, expect),
                update_mask=_mask(changes),
                justification=justification,
                dry_run=dry_run,
            ),
        )
        changed: IdentityRecord = _record(answer.identity)
        return changed

    def delete_identity(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """Remove an identity with all that it holds."""
        self._ask(
            self._directory.DeleteIdentity,
            directory.DeleteIdentityRequest(id=id, etag=_etag(expect), justification=justification, dry_run=dry_run),
        )

    # --- what they hold

    def create_assignment(
        self, record: AssignmentRecord, *, replace: bool = False, idempotency_key: str = "", dry_run: bool = False
    ) -> AssignmentRecord:
        """Assign a role; with `replace` in the place of all others."""
        answer = self._ask(
            self._directory.CreateRoleAssignment,
            directory.CreateRoleAssignmentRequest(
                assignment=_given(record), replace=replace, idempotency_key=idempotency_key, dry_run=dry_run
            ),
        )
        made: AssignmentRecord = _record(answer.assignment)
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
        answer = self._ask(
            self._directory.ListRoleAssignments,
            directory.ListRoleAssignmentsRequest(
                identity=identity,
                role=role,
                company=company,
                break_glass=break_glass,
                page_size=page_size,
                page_token=page_token,
            ),
        )
        return Page(tuple([_record(found) for found in answer.assignments]), answer.next_page_token)

    def delete_assignment(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """Take a role away."""
        self._ask(
            self._directory.DeleteRoleAssignment,
            directory.DeleteRoleAssignmentRequest(
                id=id, etag=_etag(expect), justification=justification, dry_run=dry_run
            ),
        )

    def create_grant(self, record: GrantRecord, *, idempotency_key: str = "", dry_run: bool = False) -> GrantRecord:
        """Grant something to one identity."""
        answer = self._ask(
            self._directory.CreateIdentityGrant,
            directory.CreateIdentityGrantRequest(
                grant=_given(record), idempotency_key=idempotency_key, dry_run=dry_run
            ),
        )
        made: GrantRecord = _record(answer.grant)
        return made

    def list_grants(
        self, *, identity: str = "", company: str | None = None, page_size: int = 100, page_token: str = ""
    ) -> Page:
        """A page of grants of identities."""
        answer = self._ask(
            self._directory.ListIdentityGrants,
            directory.ListIdentityGrantsRequest(
                identity=identity, company=company, page_size=page_size, page_token=page_token
            ),
        )
        return Page(tuple([_record(found) for found in answer.grants]), answer.next_page_token)

    def delete_grant(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """Take a grant away."""
        self._ask(
            self._directory.DeleteIdentityGrant,
            directory.DeleteIdentityGrantRequest(
                id=id, etag=_etag(expect), justification=justification, dry_run=dry_run
            ),
        )

    def create_share(self, record: ShareRecord, *, idempotency_key: str = "", dry_run: bool = False) -> ShareRecord:
        """Share an object with an identity."""
        answer = self._ask(
            self._directory.CreateShare,
            directory.CreateShareRequest(share=_given(record), idempotency_key=idempotency_key, dry_run=dry_run),
        )
        made: ShareRecord = _record(answer.share)
        return made

    def list_shares(
        self, *, identity: str = "", company: str | None = None, page_size: int = 100, page_token: str = ""
    ) -> Page:
        """A page of shares."""
        answer = self._ask(
            self._directory.ListShares,
            directory.ListSharesRequest(identity=identity, company=company, page_size=page_size, page_token=page_token),
        )
        return Page(tuple([_record(found) for found in answer.shares]), answer.next_page_token)

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
        empty = ShareRecord(id=id, identity="", object_type="", object_id="")
        answer = self._ask(
            self._directory.UpdateShare,
            directory.UpdateShareRequest(
                share=_changed(empty, changes, expect),
                update_mask=_mask(changes),
                justification=justification,
                dry_run=dry_run,
            ),
        )
        changed: ShareRecord = _record(answer.share)
        return changed

    def delete_share(
        self, id: str, *, expect: int | None = None, justification: str = "", dry_run: bool = False
    ) -> None:
        """End a share."""
        self._ask(
            self._directory.DeleteShare,
            directory.DeleteShareRequest(id=id, etag=_etag(expect), justification=justification, dry_run=dry_run),
        )

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
        answer = self._ask(
            self._credentials.CreateKey,
            credential.CreateKeyRequest(
                identity=identity,
                name=name,
                expire_time=None if expires_at is None else timestamp(expires_at),
                justification=justification,
                idempotency_key=idempotency_key,
                dry_run=dry_run,
            ),
        )
        return Issued(record=_record(answer.key), secret=answer.secret)

    def get_key(self, id: str) -> KeyRecord:
        """One key."""
        answer = self._ask(self._credentials.GetKey, credential.GetKeyRequest(id=id))
        found: KeyRecord = _record(answer.key)
        return found

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
        answer = self._ask(
            self._credentials.ListKeys,
            credential.ListKeysRequest(
                identity=identity,
                company=company,
                include_ended=include_ended,
                page_size=page_size,
                page_token=page_token,
            ),
        )
        return Page(tuple([_record(found) for found in answer.keys]), answer.next_page_token)

    def update_key(
        self, id: str, changes: Mapping[str, Any], *, expect: int | None = None, justification: str = ""
    ) -> KeyRecord:
        """Change these fields of a key."""
        answer = self._ask(
            self._credentials.UpdateKey,
            credential.UpdateKeyRequest(
                key=_changed(KeyRecord(id=id, identity="", name=""), changes, expect),
                update_mask=_mask(changes),
                justification=justification,
            ),
        )
        changed: KeyRecord = _record(answer.key)
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
        answer = self._ask(
            self._credentials.RotateKey,
            credential.RotateKeyRequest(
                id=id,
                overlap_seconds=round(overlap_seconds),
                expire_time=None if expires_at is None else timestamp(expires_at),
                justification=justification,
                idempotency_key=idempotency_key,
            ),
        )
        return Issued(record=_record(answer.key), secret=answer.secret)

    def revoke_key(self, id: str, *, justification: str = "") -> KeyRecord:
        """End a key for good."""
        answer = self._ask(self._credentials.RevokeKey, credential.RevokeKeyRequest(id=id, justification=justification))
        revoked: KeyRecord = _record(answer.key)
        return revoked

    def set_password(self, identity: str, password: str, *, justification: str = "") -> None:
        """Give a user another password, or none."""
        self._ask(
            self._credentials.SetPassword,
            credential.SetPasswordRequest(identity=identity, password=password, justification=justification),
        )

    def sign_in(self, identity: str, password: str) -> Issued:
        """Trade a password for an access token."""
        answer = self._ask(self._credentials.SignIn, credential.SignInRequest(identity=identity, password=password))
        return Issued(record=_record(answer.token), secret=answer.access_token)

    def create_token(self, identity: str, *, justification: str = "") -> Issued:
        """Make an access token."""
        answer = self._ask(
            self._credentials.CreateToken,
            credential.CreateTokenRequest(identity=identity, justification=justification),
        )
        return Issued(record=_record(answer.token), secret=answer.access_token)

    def list_tokens(self, identity: str, *, page_size: int = 100, page_token: str = "") -> Page:
        """A page of an identity's access tokens."""
        answer = self._ask(
            self._credentials.ListTokens,
            credential.ListTokensRequest(identity=identity, page_size=page_size, page_token=page_token),
        )
        found: tuple[TokenRecord, ...] = tuple([_record(token) for token in answer.tokens])
        return Page(found, answer.next_page_token)

    def revoke_tokens(self, *, id: str = "", identity: str = "", justification: str = "") -> int:
        """End one access token, or all of an identity; gives how many held until now."""
        answer = self._ask(
            self._credentials.RevokeTokens,
            credential.RevokeTokensRequest(id=id, identity=identity, justification=justification),
        )
        return int(answer.revoked)


def _given(record: Any) -> Any:
    """The message of a record that is to be made: what the server sets is left away."""
    message = record_message(record)
    message.ClearField("etag")
    for name in ("created_by", "create_time", "update_time", "source"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    return message


def _changed(empty: Any, changes: Mapping[str, Any], expect: int | None) -> Any:
    """The message that carries new values; `flags.NAME` changes one flag."""
    plain = {name: value for name, value in changes.items() if "." not in name}
    flags = {name.partition(".")[2]: value for name, value in changes.items() if name.startswith("flags.")}
    if flags:
        plain["flags"] = {name: on for name, on in flags.items() if on is not None}
    message = _given(msgspec.structs.replace(empty, **plain))
    message.etag = _etag(expect)
    return message


def _mask(changes: Mapping[str, Any]) -> field_mask_pb2.FieldMask:
    return field_mask_pb2.FieldMask(paths=[TIMES.get(name, name) for name in changes])


def _etag(expect: int | None) -> str:
    return "" if expect is None else etag(expect)


@contextmanager
def _reading() -> Iterator[None]:
    """A server may be of another release, or none of ours: what cannot be read is a call that failed."""
    try:
        yield
    except ValueError as error:
        what = f"the server gives an answer that this version does not know: {error}"
        raise CallFailedError(grpc.StatusCode.UNKNOWN, what) from error


def _record(message: Message) -> Any:
    with _reading():
        record = read_record(message)
        for field in TIMES:
            _moment(getattr(record, field, None))
    return record


def _moment(seconds: float | None) -> float | None:
    """The same; raises ValueError for what is no time."""
    if seconds is not None:
        try:
            time_text(seconds)
        except (ValueError, OverflowError, OSError):
            raise ValueError(f"{seconds:g} is no time") from None
    return seconds
