"""`authz.v1.DirectoryService`: each method reads its message, asks the policy, changes the directory and answers."""

from functools import partial
from typing import Any

from authz_sidecar._proto.authz.v1 import directory_service_pb2 as messages
from authz_sidecar.directory.storage.records import DEFAULT, AssignmentRecord, GrantRecord, IdentityRecord, ShareRecord
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
    ASSIGNMENT,
    GRANT,
    HOLDINGS_PAGE,
    IDENTITY,
    SHARE,
    Desk,
    decided_anew,
    every,
    narrow,
    not_found,
    thing_of_holding,
    thing_of_identity,
)
from authz_sidecar.transports.grpc.administration.guard import Caller, KnownCall, Thing
from authz_sidecar.transports.grpc.administration.record_messages import record_message
from authz_sidecar.transports.grpc.errors import permission_denied
from authz_sidecar.values.identity import ANY, PLATFORM, IdentityKind
from authz_sidecar.values.request import MAX_VALUE_BYTES

CREATE, UPDATE, DELETE, READ = "create", "update", "delete", "read"
IMPERSONATE = "impersonate"
# What of an identity bears on decisions, so that nobody changes it because it is their own.
BEARING = ("active", "flags", "attributes")
IDENTITY_FIELDS = ("active", "name", "description", "flags", "attributes")
SHARE_FIELDS = ("actions", "impersonation", "expire_time")
# More than anybody is made with.
MAX_ROLES = 100


class DirectoryService:
    """The service."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._guard = desk.guard
        self._identities = desk.identities

    # --- identities

    async def CreateIdentity(
        self, message: messages.CreateIdentityRequest, call: KnownCall
    ) -> messages.CreateIdentityResponse:
        """Make an identity, with the roles that the caller may assign."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("identity.id", message.identity.id)
        checked.value("identity.company", message.identity.company)
        for role in message.roles[:MAX_ROLES]:
            checked.needed("roles", role)
        if len(message.roles) > MAX_ROLES:
            checked.refuse("roles", f"roles has more than {MAX_ROLES}")
        if not message.identity.kind:
            checked.refuse("identity.kind", "identity.kind is neither a user nor a service account")
        check_call(checked, message)
        message.identity.active = not message.inactive
        record: IdentityRecord = checked.record("identity", message.identity)
        checked.done()
        roles = tuple(message.roles)
        thing = thing_of_identity(record, IDENTITY)
        # Where the policy gives the id something already, whoever takes it has that, or keeps it from others.
        given = sorted(self._desk.given(record.id) - {record.company})
        caller.require(CREATE, thing, *[thing.in_company(place) for place in given])
        rules = self._identities.policy().rules
        # In a plain Casbin bundle subjects and roles are names of one kind: who is called like a role has its rights.
        named = (record.id,) if rules.form == "casbin" and record.id in rules.roles else ()
        assigned = [Thing(ASSIGNMENT, role, self._place(role, record), record.id) for role in (*roles, *named)]
        caller.require(CREATE, *assigned)
        changed = await self._desk.run(
            caller,
            lambda: self._identities.create_identity(
                caller.actor,
                record,
                roles,
                justification=message.justification,
                idempotency_key=message.idempotency_key,
                dry_run=message.dry_run,
            ),
        )
        return messages.CreateIdentityResponse(
            identity=record_message(changed.record), directory_revision=changed.revision
        )

    def _place(self, role: str, record: IdentityRecord) -> str:
        """Where an identity holds a role that it is made with."""
        rules = self._identities.policy().rules
        facts = rules.roles.get(role)
        if facts is None:
            return record.company if rules.domains else PLATFORM
        return PLATFORM if facts.assigned == "platform" else record.company

    async def GetIdentity(self, message: messages.GetIdentityRequest, call: KnownCall) -> messages.GetIdentityResponse:
        """Give one."""
        caller = self._guard.caller(call)
        needed("id", message.id)
        record = await self._desk.identity(caller, message.id, READ)
        return messages.GetIdentityResponse(identity=record_message(record))

    async def ListIdentities(
        self, message: messages.ListIdentitiesRequest, call: KnownCall
    ) -> messages.ListIdentitiesResponse:
        """List those that the caller may read."""
        caller = self._guard.caller(call)
        checked = Checked()
        size = checked.page_size(message.page_size)
        checked.value("company", message.company)
        checked.value("role", message.role)
        checked.bounded("prefix", message.prefix, MAX_VALUE_BYTES)
        if message.kind and int(message.kind) not in [int(kind) for kind in IdentityKind]:
            checked.refuse("kind", "kind is neither a user nor a service account")
        checked.done()
        places = self._readable_places(caller, message.role) if message.role else None
        kind = IdentityKind(message.kind) if message.kind else None
        active = message.active if message.HasField("active") else None
        records, token = await self._desk.page(
            caller,
            IDENTITY,
            message.company if message.HasField("company") else None,
            asked(message),
            lambda narrowed, size, place: self._identities.list_identities(
                company=narrowed.company,
                companies=narrowed.companies,
                kind=kind,
                role=message.role,
                role_companies=places,
                # Those who may read themselves alone have no long list gone through for them.
                prefix=message.prefix or narrowed.owner,
                active=active,
                page_size=size,
                page_token=place,
            ),
            lambda record: thing_of_identity(record, IDENTITY),
            size,
            message.page_token,
        )
        return messages.ListIdentitiesResponse(identities=map(record_message, records), next_page_token=token)

    def _readable_places(self, caller: Caller, role: str) -> frozenset[str] | None:
        """The companies where the caller may read who holds a role (None: in all); raises CallError where it is none.
        By whom a list names, it would tell them otherwise."""
        places = narrow(caller.filter(READ, ASSIGNMENT), None).companies
        if places is None:
            caller.require(READ, Thing(ASSIGNMENT, role))
            return None
        sorted_places = sorted(places)
        allowed = caller.may_each(READ, [Thing(ASSIGNMENT, role, place) for place in sorted_places])
        readable = frozenset(place for place, yes in zip(sorted_places, allowed, strict=True) if yes)
        if not readable:
            raise permission_denied(ASSIGNMENT, READ)
        return readable

    @decided_anew
    async def UpdateIdentity(
        self, message: messages.UpdateIdentityRequest, call: KnownCall
    ) -> messages.UpdateIdentityResponse:
        """Change one."""
        caller = self._guard.caller(call)
        checked = Checked()
        id = checked.needed("identity.id", message.identity.id)
        check_call(checked, message)
        paths = checked.mask(message.update_mask, IDENTITY_FIELDS, maps=("flags",))
        expect = checked.etag("identity.etag", message.identity.etag)
        # Its kind never changes, so that it need not be given.
        message.identity.kind = int(IdentityKind.USER)  # type: ignore[assignment]
        record = checked.record("identity", message.identity)
        checked.done()
        await self._require_update(caller, id, paths, switched_off="active" in paths and not message.identity.active)
        changed = await self._desk.run(
            caller,
            lambda: self._identities.update_identity(
                caller.actor,
                id,
                changes_of(record, paths),
                expect=expect,
                justification=message.justification,
                dry_run=message.dry_run,
            ),
        )
        return messages.UpdateIdentityResponse(
            identity=record_message(changed.record), directory_revision=changed.revision
        )

    async def _require_update(self, caller: Caller, id: str, paths: tuple[str, ...], *, switched_off: bool) -> None:
        desk = self._desk
        known = await desk.look(caller, lambda: self._identities.get_identity(id), lambda _found: id)
        if known is None:
            desk.require_known(caller, UPDATE, None, Thing(IDENTITY, id))
            raise not_found(IDENTITY)
        thing = thing_of_identity(known, IDENTITY)
        thing = thing.with_attributes(mask_attributes(paths))
        more: list[Thing] = []
        bearing = [path for path in paths if path.partition(".")[0] in BEARING]
        if bearing:
            # Nobody's: what is one's own is not for oneself to say where it decides what one may do.
            thing = thing.of_nobody()
        if bearing and not (switched_off and bearing == ["active"]):
            places = await desk.run(caller, lambda: desk.places(known))
            more = [thing.in_company(place) for place in sorted(places)]
        desk.require_known(caller, UPDATE, thing, Thing(IDENTITY, id), *more)

    @decided_anew
    async def DeleteIdentity(
        self, message: messages.DeleteIdentityRequest, call: KnownCall
    ) -> messages.DeleteIdentityResponse:
        """Remove one."""
        caller = self._guard.caller(call)
        expect = _read_delete(message)
        await self._desk.identity(caller, message.id, DELETE)
        changed = await self._desk.run(
            caller,
            lambda: self._identities.delete_identity(
                caller.actor, message.id, expect=expect, justification=message.justification, dry_run=message.dry_run
            ),
        )
        return messages.DeleteIdentityResponse(directory_revision=changed.revision)

    # --- role assignments

    @decided_anew
    async def CreateRoleAssignment(
        self, message: messages.CreateRoleAssignmentRequest, call: KnownCall
    ) -> messages.CreateRoleAssignmentResponse:
        """Assign a role that the policy lets the caller assign there."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("assignment.identity", message.assignment.identity)
        checked.value("assignment.company", message.assignment.company)
        checked.needed("assignment.role", message.assignment.role)
        checked.bounded("assignment.justification", message.assignment.justification, MAX_JUSTIFICATION)
        check_call(checked, message)
        record: AssignmentRecord = checked.record("assignment", message.assignment)
        checked.done()
        caller.require(CREATE, thing_of_holding(ASSIGNMENT, record.role, record))
        await self._desk.recipient(caller, record.identity, record.company)
        rules = self._identities.policy().rules
        alone = rules.sole((rules.default_role,))
        if message.replace or (alone and record.role != alone):
            held: list[AssignmentRecord] = await self._desk.run(
                caller,
                lambda: every(
                    lambda token: self._identities.list_assignments(
                        identity=record.identity, page_size=HOLDINGS_PAGE, page_token=token
                    )
                ),
            )
            now = self._guard.clock()
            others = [
                one
                for one in held
                if (one.role, one.company) != (record.role, record.company)
                and one.source != DEFAULT
                and (one.expires_at is None or one.expires_at > now)
                # Any role lifts a suspension.
                and (message.replace or one.role == alone)
            ]
            caller.require(DELETE, *[thing_of_holding(ASSIGNMENT, one.role, one) for one in others])
        changed = await self._desk.run(
            caller,
            lambda: self._identities.create_assignment(
                caller.actor,
                record,
                replace=message.replace,
                idempotency_key=message.idempotency_key,
                dry_run=message.dry_run,
            ),
        )
        return messages.CreateRoleAssignmentResponse(
            assignment=record_message(changed.record), directory_revision=changed.revision
        )

    async def ListRoleAssignments(
        self, message: messages.ListRoleAssignmentsRequest, call: KnownCall
    ) -> messages.ListRoleAssignmentsResponse:
        """List those that the caller may read."""
        records, token = await self._list(
            message,
            call,
            ASSIGNMENT,
            lambda narrowed, size, place: self._identities.list_assignments(
                identity=message.identity or narrowed.owner,
                role=message.role,
                company=narrowed.company,
                companies=narrowed.companies,
                break_glass=message.break_glass,
                page_size=size,
                page_token=place,
            ),
        )
        return messages.ListRoleAssignmentsResponse(assignments=map(record_message, records), next_page_token=token)

    @decided_anew
    async def DeleteRoleAssignment(
        self, message: messages.DeleteRoleAssignmentRequest, call: KnownCall
    ) -> messages.DeleteRoleAssignmentResponse:
        """Take a role away."""
        identities = self._identities
        revision = await self._delete(
            message, call, ASSIGNMENT, identities.get_assignment, identities.delete_assignment
        )
        return messages.DeleteRoleAssignmentResponse(directory_revision=revision)

    # --- grants of identities

    @decided_anew
    async def CreateIdentityGrant(
        self, message: messages.CreateIdentityGrantRequest, call: KnownCall
    ) -> messages.CreateIdentityGrantResponse:
        """Grant something to one identity."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("grant.identity", message.grant.identity)
        checked.value("grant.company", message.grant.company)
        checked.needed("grant.object_type", message.grant.object_type)
        checked.bounded("grant.justification", message.grant.justification, MAX_JUSTIFICATION)
        check_call(checked, message)
        # As it is documented: everything of the type, allowed.
        message.grant.object_id = message.grant.object_id or "*"
        message.grant.effect = message.grant.effect or "allow"
        record: GrantRecord = checked.record("grant", message.grant)
        checked.done()
        thing = thing_of_holding(GRANT, record.object_type, record)
        caller.require(CREATE, thing)
        self._require_each_type(caller, CREATE, GRANT, record)
        if record.scope == "platform" and thing.company:
            # It reaches beyond the company in which it is made.
            caller.require(CREATE, thing.in_company(PLATFORM))
        if IMPERSONATE in record.actions and record.effect != "deny":
            self._require_impersonation(caller, record)
        await self._desk.recipient(caller, record.identity, record.company)
        changed = await self._desk.run(
            caller,
            lambda: self._identities.create_grant(
                caller.actor, record, idempotency_key=message.idempotency_key, dry_run=message.dry_run
            ),
        )
        return messages.CreateIdentityGrantResponse(
            grant=record_message(changed.record), directory_revision=changed.revision
        )

    async def ListIdentityGrants(
        self, message: messages.ListIdentityGrantsRequest, call: KnownCall
    ) -> messages.ListIdentityGrantsResponse:
        """List those that the caller may read."""
        records, token = await self._list(
            message,
            call,
            GRANT,
            lambda narrowed, size, place: self._identities.list_grants(
                identity=message.identity or narrowed.owner,
                company=narrowed.company,
                companies=narrowed.companies,
                page_size=size,
                page_token=place,
            ),
        )
        return messages.ListIdentityGrantsResponse(grants=map(record_message, records), next_page_token=token)

    @decided_anew
    async def DeleteIdentityGrant(
        self, message: messages.DeleteIdentityGrantRequest, call: KnownCall
    ) -> messages.DeleteIdentityGrantResponse:
        """Take a grant away."""
        identities = self._identities
        revision = await self._delete(message, call, GRANT, identities.get_grant, identities.delete_grant)
        return messages.DeleteIdentityGrantResponse(directory_revision=revision)

    # --- shares

    @decided_anew
    async def CreateShare(self, message: messages.CreateShareRequest, call: KnownCall) -> messages.CreateShareResponse:
        """Share an object with an identity."""
        caller = self._guard.caller(call)
        checked = Checked()
        checked.needed("share.identity", message.share.identity)
        checked.value("share.company", message.share.company)
        checked.needed("share.object_type", message.share.object_type)
        checked.bounded("share.justification", message.share.justification, MAX_JUSTIFICATION)
        check_call(checked, message)
        record: ShareRecord = checked.record("share", message.share)
        checked.done()
        thing = thing_of_holding(SHARE, record.object_type, record)
        caller.require(CREATE, thing)
        if record.impersonation:
            caller.require(IMPERSONATE, thing)
        await self._desk.recipient(caller, record.identity, record.company)
        changed = await self._desk.run(
            caller,
            lambda: self._identities.create_share(
                caller.actor, record, idempotency_key=message.idempotency_key, dry_run=message.dry_run
            ),
        )
        return messages.CreateShareResponse(share=record_message(changed.record), directory_revision=changed.revision)

    async def ListShares(self, message: messages.ListSharesRequest, call: KnownCall) -> messages.ListSharesResponse:
        """List those that the caller may read."""
        records, token = await self._list(
            message,
            call,
            SHARE,
            lambda narrowed, size, place: self._identities.list_shares(
                identity=message.identity or narrowed.owner,
                company=narrowed.company,
                companies=narrowed.companies,
                page_size=size,
                page_token=place,
            ),
        )
        return messages.ListSharesResponse(shares=map(record_message, records), next_page_token=token)

    @decided_anew
    async def UpdateShare(self, message: messages.UpdateShareRequest, call: KnownCall) -> messages.UpdateShareResponse:
        """Change one."""
        caller = self._guard.caller(call)
        checked = Checked()
        id = checked.needed("share.id", message.share.id)
        check_call(checked, message)
        paths = checked.mask(message.update_mask, SHARE_FIELDS)
        expect = checked.etag("share.etag", message.share.etag)
        record: ShareRecord = checked.record("share", message.share)
        checked.done()
        found: ShareRecord | None = await self._desk.look(caller, lambda: self._identities.get_share(id), _holder)
        thing = None
        if found is not None:
            thing = thing_of_holding(SHARE, found.object_type, found).with_attributes(mask_attributes(paths))
        self._desk.require_known(caller, UPDATE, thing, Thing(SHARE))
        if thing is not None and found is not None and _widens_impersonation(found, record, paths):
            caller.require(IMPERSONATE, thing)
        changed = await self._desk.run(
            caller,
            lambda: self._identities.update_share(
                caller.actor,
                id,
                changes_of(record, paths),
                expect=expect,
                justification=message.justification,
                dry_run=message.dry_run,
            ),
        )
        return messages.UpdateShareResponse(share=record_message(changed.record), directory_revision=changed.revision)

    @decided_anew
    async def DeleteShare(self, message: messages.DeleteShareRequest, call: KnownCall) -> messages.DeleteShareResponse:
        """End one."""
        identities = self._identities
        revision = await self._delete(message, call, SHARE, identities.get_share, identities.delete_share)
        return messages.DeleteShareResponse(directory_revision=revision)

    # --- whatever identities hold

    async def _list(self, message: Any, call: KnownCall, type: str, fetch: Any) -> tuple[list[Any], str]:
        """A page of what identities hold."""
        caller = self._guard.caller(call)
        checked = Checked()
        size = checked.page_size(message.page_size)
        checked.value("identity", message.identity)
        checked.value("company", message.company)
        checked.done()
        company = message.company if message.HasField("company") else None
        thing = partial(_thing, type)
        return await self._desk.page(caller, type, company, asked(message), fetch, thing, size, message.page_token)

    async def _delete(self, message: Any, call: KnownCall, type: str, get: Any, delete: Any) -> int:
        """Take away what an identity holds; the revision without it."""
        caller = self._guard.caller(call)
        expect = _read_delete(message)
        found = await self._desk.look(caller, lambda: get(message.id), _holder)
        self._desk.require_known(caller, DELETE, None if found is None else _thing(type, found), Thing(type))
        if isinstance(found, GrantRecord):
            self._require_each_type(caller, DELETE, GRANT, found)
            if self._denies_impersonation(found):
                # What it keeps a service account from would be permitted again.
                self._require_impersonation(caller, found)
        changed = await self._desk.run(
            caller,
            lambda: delete(
                caller.actor, message.id, expect=expect, justification=message.justification, dry_run=message.dry_run
            ),
        )
        return int(changed.revision)

    def _require_each_type(self, caller: Caller, action: str, type: str, record: GrantRecord) -> None:
        """What is refused of one object type is not to be had by naming all; raises CallError."""
        if record.object_type != ANY:
            return
        things = [thing_of_holding(type, each, record) for each in self._identities.policy().rules.object_types]
        for thing, allowed in zip(things, caller.may_each(action, things), strict=True):
            if not allowed:
                caller.require(action, thing)

    def _require_impersonation(self, caller: Caller, record: GrantRecord) -> None:
        """A grant that names the action lets a service account act for users as a share with impersonation does."""
        caller.require(IMPERSONATE, thing_of_holding(SHARE, record.object_type, record))
        self._require_each_type(caller, IMPERSONATE, SHARE, record)

    def _denies_impersonation(self, record: GrantRecord) -> bool:
        """Whether it keeps a service account from acting for users: a deny of any action does, too."""
        if record.effect != "deny":
            return False
        holder = self._guard.identities.directory.identity(record.identity)
        is_user = holder is not None and holder.kind is IdentityKind.USER
        return IMPERSONATE in record.actions or (ANY in record.actions and not is_user)


def _thing(type: str, record: AssignmentRecord | GrantRecord | ShareRecord) -> Thing:
    """What an identity holds as the policy sees it: a role, or something of an object type."""
    id = record.role if isinstance(record, AssignmentRecord) else record.object_type
    return thing_of_holding(type, id, record)


def _holder(record: AssignmentRecord | GrantRecord | ShareRecord) -> str:
    """The identity that holds it."""
    return record.identity


def _widens_impersonation(found: ShareRecord, record: ShareRecord, paths: tuple[str, ...]) -> bool:
    """Whether a change of a share lets a service account act for users, or for longer."""
    on = record.impersonation if "impersonation" in paths else found.impersonation
    if not on:
        return False
    if not found.impersonation:
        return True
    if "expire_time" not in paths or found.expires_at is None:
        return False
    return record.expires_at is None or record.expires_at > found.expires_at


def _read_delete(message: Any) -> int | None:
    """The revision that what is to be removed must still have; raises CallError for an invalid message."""
    checked = Checked()
    checked.needed("id", message.id)
    check_call(checked, message)
    expect = checked.etag("etag", message.etag)
    checked.done()
    return expect
