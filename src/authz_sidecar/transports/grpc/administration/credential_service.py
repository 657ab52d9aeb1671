"""`authz.v1.CredentialService`: API keys, passwords and access tokens, and the trade of a password for a token.

A credential hands out all that its identity may do: whoever makes one for somebody else must be permitted wherever that
identity holds anything.
"""

from collections.abc import Callable
from typing import Any

from authz_sidecar._proto.authz.v1 import credential_service_pb2 as messages
from authz_sidecar.directory.credentials.credential_administration import CredentialAdministration
from authz_sidecar.directory.storage.records import Actor, KeyRecord, TokenRecord
from authz_sidecar.transports.grpc.administration.conversion import (
    MAX_JUSTIFICATION,
    Checked,
    asked,
    changes_of,
    check_call,
    mask_attributes,
    needed,
)
from authz_sidecar.transports.grpc.administration.desk import (
    CREDENTIAL,
    READ,
    TOKEN,
    Desk,
    Threads,
    decided_anew,
    not_found,
    thing_of_identity,
)
from authz_sidecar.transports.grpc.administration.guard import Caller, KnownCall, Thing
from authz_sidecar.transports.grpc.administration.record_messages import record_message

CREATE, UPDATE, ROTATE, REVOKE, SET_PASSWORD = "create", "update", "rotate", "revoke", "set_password"
KEY_FIELDS = ("name", "active", "expire_time")
# Longer texts are no credentials of anybody's.
MAX_PASSWORD, MAX_JWT = 4096, 16_384
MAX_OVERLAP = 10 * 365 * 86_400


class CredentialService:
    """The service. Sign-ins have threads of their own: whoever guesses passwords keeps no administrator waiting."""

    def __init__(self, desk: Desk, credentials: CredentialAdministration, sign_ins: Threads) -> None:
        self._desk = desk
        self._guard = desk.guard
        self._credentials = credentials
        self._sign_ins = sign_ins

    # --- API keys

    @decided_anew
    async def CreateKey(self, message: messages.CreateKeyRequest, call: KnownCall) -> messages.CreateKeyResponse:
        """Make a key; its secret is shown this once."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("identity", message.identity)
        check_call(checked, message)
        expires = checked.time("expire_time", message, "expire_time")
        checked.done()
        await self._desk.identity(caller, message.identity, CREATE, CREDENTIAL, elsewhere=True)
        issued = await self._desk.run(
            caller,
            lambda: self._credentials.create_key(
                caller.actor,
                message.identity,
                message.name,
                expires_at=expires,
                justification=message.justification,
                idempotency_key=message.idempotency_key,
                dry_run=message.dry_run,
            ),
        )
        return messages.CreateKeyResponse(
            key=record_message(issued.record.record),
            secret=issued.record.secret,
            directory_revision=issued.revision,
        )

    async def GetKey(self, message: messages.GetKeyRequest, call: KnownCall) -> messages.GetKeyResponse:
        """Give one."""
        caller = self._guard.caller(call)
        needed("id", message.id)
        return messages.GetKeyResponse(key=record_message(await self._key(caller, message.id, READ)))

    async def ListKeys(self, message: messages.ListKeysRequest, call: KnownCall) -> messages.ListKeysResponse:
        """List those that the caller may read."""
        caller = self._guard.caller(call)
        checked = Checked()
        size = checked.page_size(message.page_size)
        checked.value("identity", message.identity)
        checked.value("company", message.company)
        checked.done()
        if message.identity:
            await self._desk.identity(caller, message.identity, READ, CREDENTIAL)
        records, token = await self._desk.page(
            caller,
            CREDENTIAL,
            message.company if message.HasField("company") else None,
            asked(message),
            lambda narrowed, size, place: self._credentials.list_keys(
                identity=message.identity or narrowed.owner,
                company=narrowed.only_company,
                include_ended=message.include_ended,
                page_size=size,
                page_token=place,
            ),
            lambda record: self._thing(CREDENTIAL, record),
            size,
            message.page_token,
        )
        return messages.ListKeysResponse(keys=map(record_message, records), next_page_token=token)

    @decided_anew
    async def UpdateKey(self, message: messages.UpdateKeyRequest, call: KnownCall) -> messages.UpdateKeyResponse:
        """Rename one, switch it, or have it expire earlier."""
        caller = self._guard.caller(call)
        checked = Checked()
        id = checked.needed("key.id", message.key.id)
        check_call(checked, message)
        paths = checked.mask(message.update_mask, KEY_FIELDS)
        expect = checked.etag("key.etag", message.key.etag)
        record: KeyRecord = checked.record("key", message.key)
        checked.done()
        # To switch a key on hands out what it is for.
        await self._key(caller, id, UPDATE, elsewhere="active" in paths and record.active, paths=paths)
        changed = await self._desk.run(
            caller,
            lambda: self._credentials.update_key(
                caller.actor, id, changes_of(record, paths), expect=expect, justification=message.justification
            ),
        )
        return messages.UpdateKeyResponse(key=record_message(changed.record), directory_revision=changed.revision)

    @decided_anew
    async def RotateKey(self, message: messages.RotateKeyRequest, call: KnownCall) -> messages.RotateKeyResponse:
        """Make a new key in the place of one."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("id", message.id)
        check_call(checked, message)
        if not 0 <= message.overlap_seconds <= MAX_OVERLAP:
            checked.refuse("overlap_seconds", f"overlap_seconds is not between 0 and {MAX_OVERLAP:,}")
        expires = checked.time("expire_time", message, "expire_time")
        checked.done()
        await self._key(caller, message.id, ROTATE, elsewhere=True)
        issued = await self._desk.run(
            caller,
            lambda: self._credentials.rotate_key(
                caller.actor,
                message.id,
                overlap_seconds=message.overlap_seconds,
                expires_at=expires,
                justification=message.justification,
                idempotency_key=message.idempotency_key,
            ),
        )
        return messages.RotateKeyResponse(
            key=record_message(issued.record.record),
            secret=issued.record.secret,
            replaced=record_message(issued.record.replaced),
            directory_revision=issued.revision,
        )

    async def RevokeKey(self, message: messages.RevokeKeyRequest, call: KnownCall) -> messages.RevokeKeyResponse:
        """End one for good."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("id", message.id)
        check_call(checked, message)
        checked.done()
        await self._key(caller, message.id, REVOKE)
        changed = await self._desk.run(
            caller,
            lambda: self._credentials.revoke_key(caller.actor, message.id, justification=message.justification),
        )
        return messages.RevokeKeyResponse(key=record_message(changed.record), directory_revision=changed.revision)

    # --- passwords

    @decided_anew
    async def SetPassword(self, message: messages.SetPasswordRequest, call: KnownCall) -> messages.SetPasswordResponse:
        """Give a user another password, or none."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("identity", message.identity)
        checked.bounded("password", message.password, MAX_PASSWORD)
        check_call(checked, message)
        checked.done()
        await self._desk.identity(caller, message.identity, SET_PASSWORD, CREDENTIAL, elsewhere=True)
        # Its hash takes as long as that of a sign-in.
        changed = await self._sign_ins.run(
            caller.facts,
            lambda: self._credentials.set_password(
                caller.actor, message.identity, message.password, justification=message.justification
            ),
        )
        return messages.SetPasswordResponse(directory_revision=changed.revision)

    async def SignIn(self, message: messages.SignInRequest, call: KnownCall) -> messages.SignInResponse:
        """Trade a password, or a JWT of an identity provider, for an access token."""
        checked = Checked()
        if message.jwt:
            checked.bounded("jwt", message.jwt, MAX_JWT)
            if message.identity or message.password:
                checked.refuse("jwt", "both a password and a jwt are set; exactly one of them signs in")
        else:
            checked.needed("identity", message.identity)
            checked.needed("password", message.password)
            checked.bounded("identity", message.identity, MAX_PASSWORD)
            checked.bounded("password", message.password, MAX_PASSWORD)
        checked.done()
        facts = call.facts
        # Who it is remains to be shown.
        actor = Actor(id=message.identity, address=facts.address, call=facts.id)
        sign_in: Callable[[], Any]
        if message.jwt:

            def sign_in() -> Any:
                return self._credentials.sign_in_jwt(actor, message.jwt, facts.address)
        else:

            def sign_in() -> Any:
                return self._credentials.sign_in(actor, message.identity, message.password, facts.address)

        issued = await self._sign_ins.run(facts, sign_in)
        return messages.SignInResponse(
            access_token=issued.record.secret,
            token=record_message(issued.record.record),
            directory_revision=issued.revision,
        )

    # --- access tokens

    @decided_anew
    async def CreateToken(self, message: messages.CreateTokenRequest, call: KnownCall) -> messages.CreateTokenResponse:
        """Make an access token for an identity."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("identity", message.identity)
        check_call(checked, message)
        checked.done()
        await self._desk.identity(caller, message.identity, CREATE, TOKEN, elsewhere=True)
        issued = await self._desk.run(
            caller,
            lambda: self._credentials.create_token(caller.actor, message.identity, justification=message.justification),
        )
        return messages.CreateTokenResponse(
            access_token=issued.record.secret,
            token=record_message(issued.record.record),
            directory_revision=issued.revision,
        )

    async def ListTokens(self, message: messages.ListTokensRequest, call: KnownCall) -> messages.ListTokensResponse:
        """List those of an identity that still hold."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("identity", message.identity)
        size = checked.page_size(message.page_size)
        checked.done()
        await self._desk.identity(caller, message.identity, READ, TOKEN)
        records, token = await self._desk.page(
            caller,
            TOKEN,
            None,
            asked(message),
            lambda _narrowed, size, place: self._credentials.list_tokens(
                message.identity, page_size=size, page_token=place
            ),
            lambda record: self._thing(TOKEN, record),
            size,
            message.page_token,
        )
        return messages.ListTokensResponse(tokens=map(record_message, records), next_page_token=token)

    @decided_anew
    async def RevokeTokens(
        self, message: messages.RevokeTokensRequest, call: KnownCall
    ) -> messages.RevokeTokensResponse:
        """End one, or all of an identity."""
        caller = self._guard.caller(call)
        checked = Checked()
        if bool(message.id) == bool(message.identity):
            checked.refuse("id", "exactly one of id and identity says which tokens")
        checked.bounded("justification", message.justification, MAX_JUSTIFICATION)
        checked.done()
        if message.id:
            held = await self._token(caller, message.id, REVOKE)
            revoked = int(held.revoked_at is None and held.expires_at > self._guard.clock())
            changed = await self._desk.run(
                caller,
                lambda: self._credentials.revoke_token(caller.actor, message.id, justification=message.justification),
            )
        else:
            await self._desk.identity(caller, message.identity, REVOKE, TOKEN)
            changed = await self._desk.run(
                caller,
                lambda: self._credentials.revoke_tokens(
                    caller.actor, message.identity, justification=message.justification
                ),
            )
            revoked = changed.record
        return messages.RevokeTokensResponse(revoked=revoked, directory_revision=changed.revision)

    # --- lookups

    def _thing(self, type: str, record: KeyRecord | TokenRecord) -> Thing | None:
        """A record of a list as the policy sees it; None where its identity is not held here."""
        identity = self._guard.identities.directory.identity(record.identity)
        if identity is None:
            return None
        return Thing(type, record.id, identity.company, identity.id, {"kind": identity.kind.label})

    async def _key(
        self, caller: Caller, id: str, action: str, *, elsewhere: bool = False, paths: tuple[str, ...] = ()
    ) -> KeyRecord:
        record: KeyRecord | None = await self._desk.look(caller, lambda: self._credentials.get_key(id))
        permitted: KeyRecord = await self._permitted(caller, CREDENTIAL, id, record, action, elsewhere, paths)
        return permitted

    async def _token(self, caller: Caller, id: str, action: str) -> TokenRecord:
        record: TokenRecord | None = await self._desk.look(caller, lambda: self._credentials.get_token(id))
        permitted: TokenRecord = await self._permitted(caller, TOKEN, id, record, action, False, ())
        return permitted

    async def _permitted(
        self, caller: Caller, type: str, id: str, record: Any, action: str, elsewhere: bool, paths: tuple[str, ...]
    ) -> Any:
        """The record, if the policy allows the action on it, and with `elsewhere` wherever its identity holds anything
        unless that is the caller; raises CallError."""
        desk = self._desk
        absent = Thing(type, id)
        identity = None
        if record is not None:
            identity = await desk.look(
                caller,
                lambda: desk.identities.get_identity(record.identity),
                (lambda _found: record.identity) if elsewhere else None,
            )
        if identity is None:
            desk.require_known(caller, action, None, absent)
            raise not_found(type)
        thing = thing_of_identity(identity, type, id)
        if paths:
            thing = thing.with_attributes(mask_attributes(paths))
        more: list[Thing] = []
        if elsewhere and identity.id != caller.id:
            places = await desk.run(caller, lambda: desk.places(identity))
            more = [thing.in_company(place) for place in sorted(places)]
        desk.require_known(caller, action, thing, absent, *more)
        return record
