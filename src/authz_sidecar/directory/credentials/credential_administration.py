"""All operations on credentials; those on API keys are here, the others in `tokens` and `sign_in`.

A key *holds* until it is revoked or expires, whether it is switched on or off. A key that another one, made by
rotation, is to replace holds beside that one for a while, and is not counted: neither for the number of keys that an
identity may have, nor for their names. So an identity with as many keys as it may have can rotate each of them; but the
last rotation of a key has to be over before the next, so there are never more than two in the place of one.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Row, delete, insert, or_, select, update

from authz_sidecar.audit.record import AuditAction
from authz_sidecar.bundle.wording import counted, listed, quote
from authz_sidecar.directory.administration.field_checks import check_expiry, check_justification, check_text
from authz_sidecar.directory.administration.operation import Changed, check_expected, invalid, read_page
from authz_sidecar.directory.administration.role_changes import kind_rules
from authz_sidecar.directory.credentials.sign_in import SignInAdministration
from authz_sidecar.directory.credentials.tokens import check_is_id
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault, not_found
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Issued, KeyRecord, Page, Rotated
from authz_sidecar.directory.storage.rows import audited, find_identity
from authz_sidecar.directory.storage.schema import IDENTITIES, KEYS
from authz_sidecar.directory.storage.secrets import NewSecret, SecretKind, create_secret
from authz_sidecar.values import Violation
from authz_sidecar.values.directory_rules import DAY, YEAR, KeyRules
from authz_sidecar.values.identity import IdentityKind

OBJECT_TYPE = "sidecar.credential"
NAME_LENGTH = 80
# Whoever computes an expiry does so by a clock of their own, a moment before it is checked.
TOLERANCE = 60.0
# Ended keys of one identity that are kept, so that it is told why they are refused; the audit keeps all.
MOST_ENDED = 200
CHANGEABLE = ("name", "active", "expires_at")

_COLUMNS = [KEYS.c[name] for name in KeyRecord.__struct_fields__]


class CredentialAdministration(SignInAdministration):
    """Operations on credentials. A secret is given once, by the operation that makes it, and cannot be had again."""

    def create_key(
        self,
        actor: Actor,
        identity: str,
        name: str,
        *,
        expires_at: float | None = None,
        justification: str = "",
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Make an API key: `Changed.record` is an `Issued`. Its secret is "" in a dry run, and where the same was asked
        before under the same idempotency key.

        Raises DirectoryError: NOT_FOUND, INVALID for a name or expiry that is none, ALREADY_EXISTS for a name that
        another of its keys has, LIMIT.
        """
        made = create_secret(SecretKind.KEY)

        def work(change: Change) -> KeyRecord:
            owner = find_identity(change.connection, identity)
            rules = self._key_rules(owner)
            _check_name(name, "name")
            check_justification(justification)
            check_expiry(expires_at, change.now, "expire_time")
            _check_window(rules, owner, expires_at, change.now, "expire_time")
            current = _current(_holding_keys(change, identity))
            _check_name_is_free(current, name, "name")
            if rules.most and len(current) >= rules.most:
                raise DirectoryError(
                    Fault.LIMIT,
                    f"{quote(identity)} has {counted(len(current), 'API key')}; {_kind_words(owner)} may have at most"
                    f" {rules.most:,}",
                    "revoke one that is not needed, or rotate one",
                    violations=[Violation("identity", f"has {len(current)} of at most {rules.most} keys")],
                    details=_limit(owner, "max", rules.most, count=len(current)),
                )
            key = KeyRecord(
                id=made.id,
                identity=identity,
                name=name,
                expires_at=expires_at,
                created_by=change.actor.id,
                created_at=change.now,
                revision=change.revision,
            )
            self._insert(change, owner, key, made, justification)
            return key

        key, revision, again = self.perform_once(
            actor,
            "create_key",
            [identity, name, expires_at, justification],
            KeyRecord,
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        return Changed(Issued(record=key, secret="" if again or dry_run else made.text), revision)

    def get_key(self, id: str) -> KeyRecord:
        """One key. Raises DirectoryError(NOT_FOUND)."""
        with self.reading() as connection:
            return _read_key(connection, id)

    def list_keys(
        self,
        *,
        identity: str = "",
        company: str | None = None,
        include_ended: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Page:
        """Keys in the order of their ids: of one identity, or of the identities of a company; with `include_ended` also
        those that are revoked or have expired. Raises DirectoryError: INVALID, NOT_FOUND for an unknown identity."""
        query = select(*_COLUMNS)
        if not include_ended:
            query = query.where(KEYS.c.revoked_at.is_(None), _not_expired(self.clock()))
        if company is not None:
            query = query.join(IDENTITIES, IDENTITIES.c.id == KEYS.c.identity).where(IDENTITIES.c.company == company)
        with self.reading() as connection:
            if identity:
                find_identity(connection, identity)
                query = query.where(KEYS.c.identity == identity)
            return read_page(
                connection,
                query,
                KEYS.c.id,
                _record,
                asked=(identity, company, include_ended),
                page_size=page_size,
                page_token=page_token,
            )

    def update_key(
        self,
        actor: Actor,
        id: str,
        changes: Mapping[str, Any],
        *,
        expect: int | None = None,
        justification: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Rename a key, switch it on or off, or have it expire earlier: `changes` are new values of `name`, `active`
        and `expires_at`.

        Raises DirectoryError: NOT_FOUND, INVALID, ALREADY_EXISTS, CONFLICT, PRECONDITION for a key that has ended.
        """

        def work(change: Change) -> KeyRecord:
            before = _read_key(change.connection, id)
            owner = find_identity(change.connection, before.identity)
            check_expected("API key", id, before.revision, expect)
            check_justification(justification)
            if not changes:
                raise invalid("update_mask", "nothing is to be changed", f"name some of {listed(CHANGEABLE)}")
            if unknown := sorted(set(changes) - set(CHANGEABLE)):
                raise invalid(
                    "update_mask", f"{quote(unknown[0])} of a key cannot be changed", f"change {listed(CHANGEABLE)}"
                )
            _check_holds(before, change.now, "changed")
            if "name" in changes:
                _check_name(changes["name"], "key.name")
                others = [key for key in _current(_holding_keys(change, before.identity)) if key.id != id]
                _check_name_is_free(others, changes["name"], "key.name")
            if "active" in changes and not isinstance(changes["active"], bool):
                raise invalid("key.active", "a switch is on or off", "give true or false")
            if "expires_at" in changes:
                _check_earlier(before, changes["expires_at"], change.now)
            after = msgspec.structs.replace(before, **changes)
            if after == before:
                return before
            return self._update(change, owner, before, after, "key.update", justification)

        key, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(key, revision)

    def rotate_key(
        self,
        actor: Actor,
        id: str,
        *,
        overlap_seconds: float = 0.0,
        expires_at: float | None = None,
        justification: str = "",
        idempotency_key: str = "",
        dry_run: bool = False,
    ) -> Changed:
        """Make a new key in the place of one: `Changed.record` is a `Rotated`, whose secret is as in `create_key`.

        The new key has the name and the switch of the old one, and lasts as long as that was to last when it was made,
        unless `expires_at` says otherwise. The old one expires after `overlap_seconds`; with 0 it holds until it is
        revoked, or expires as it would have.

        Raises DirectoryError: NOT_FOUND, INVALID, PRECONDITION for a key that has ended or that is being replaced.
        """
        made = create_secret(SecretKind.KEY)

        def work(change: Change) -> tuple[KeyRecord, KeyRecord]:
            old = _read_key(change.connection, id)
            owner = find_identity(change.connection, old.identity)
            rules = self._key_rules(owner)
            check_justification(justification)
            if not math.isfinite(overlap_seconds) or not 0 <= overlap_seconds <= 10 * YEAR:
                raise invalid("overlap_seconds", "the overlap is no time of up to ten years", "give seconds, or 0")
            _check_holds(old, change.now, "rotated")
            _check_not_rotating(old, _holding_keys(change, old.identity))
            check_expiry(expires_at, change.now, "expire_time")
            ends = expires_at if expires_at is not None else _as_long(old, rules, change.now)
            _check_window(rules, owner, ends, change.now, "expire_time")
            key = KeyRecord(
                id=made.id,
                identity=old.identity,
                name=old.name,
                active=old.active,
                expires_at=ends,
                rotated_from=old.id,
                created_by=change.actor.id,
                created_at=change.now,
                revision=change.revision,
            )
            self._insert(change, owner, key, made, justification)
            replaced = old
            if overlap_seconds:
                until = change.now + overlap_seconds
                replaced = msgspec.structs.replace(
                    old, expires_at=until if old.expires_at is None else min(old.expires_at, until)
                )
            return key, self._update(change, owner, old, replaced, "key.rotate", justification)

        (key, replaced), revision, again = self.perform_once(
            actor,
            "rotate_key",
            [id, overlap_seconds, expires_at, justification],
            tuple[KeyRecord, KeyRecord],
            work,
            idempotency_key=idempotency_key,
            dry_run=dry_run,
        )
        secret = "" if again or dry_run else made.text
        return Changed(Rotated(record=key, secret=secret, replaced=replaced), revision)

    def revoke_key(self, actor: Actor, id: str, *, justification: str = "", dry_run: bool = False) -> Changed:
        """End a key for good, at once. One that is revoked already stays as it is. Raises DirectoryError(NOT_FOUND)."""

        def work(change: Change) -> KeyRecord:
            before = _read_key(change.connection, id)
            check_justification(justification)
            if before.revoked_at is not None:
                return before
            owner = find_identity(change.connection, before.identity)
            after = msgspec.structs.replace(before, revoked_at=change.now)
            return self._update(change, owner, before, after, "key.revoke", justification)

        key, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(key, revision)

    def _key_rules(self, owner: IdentityRecord) -> KeyRules:
        return kind_rules(self.policy().rules, owner.kind).keys

    def _insert(
        self, change: Change, owner: IdentityRecord, key: KeyRecord, made: NewSecret, justification: str
    ) -> None:
        _forget_ended(change, key.identity)
        change.connection.execute(insert(KEYS), {**msgspec.structs.asdict(key), "hash": made.hash})
        self._note(change, owner, "key.create", None, key, justification)

    def _update(
        self,
        change: Change,
        owner: IdentityRecord,
        before: KeyRecord,
        after: KeyRecord,
        action: AuditAction,
        justification: str,
    ) -> KeyRecord:
        after = msgspec.structs.replace(after, revision=change.revision)
        values = {name: getattr(after, name) for name in (*CHANGEABLE, "revoked_at", "revision")}
        change.connection.execute(update(KEYS).where(KEYS.c.id == after.id).values(**values))
        self._note(change, owner, action, before, after, justification)
        return after

    def _note(
        self,
        change: Change,
        owner: IdentityRecord,
        action: AuditAction,
        before: KeyRecord | None,
        after: KeyRecord,
        justification: str,
    ) -> None:
        change.touch("key", after.id)
        change.audit(
            action,
            subject=after.identity,
            company=owner.company,
            object_type=OBJECT_TYPE,
            object_id=after.id,
            before=None if before is None else audited(before),
            after=audited(after),
            justification=justification,
            policy_version=self.policy().policy_version,
        )


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(**{name: getattr(row, name) for name in KeyRecord.__struct_fields__})


def _read_key(connection: Any, id: str) -> KeyRecord:
    check_is_id(id)
    # PostgreSQL takes no NUL in a text.
    row = None if "\0" in id else connection.execute(select(*_COLUMNS).where(KEYS.c.id == id)).one_or_none()
    if row is None:
        raise not_found("API key", id)
    return _record(row)


def _not_expired(now: float) -> Any:
    return or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > now)


def _holding_keys(change: Change, identity: str) -> list[KeyRecord]:
    """The keys of an identity that hold, whether they are switched on or off."""
    rows = change.connection.execute(
        select(*_COLUMNS).where(KEYS.c.identity == identity, KEYS.c.revoked_at.is_(None), _not_expired(change.now))
    )
    return [_record(row) for row in rows]


def _current(holding: list[KeyRecord]) -> list[KeyRecord]:
    """Of keys that hold those that no other one of them replaces."""
    replaced = {key.rotated_from for key in holding}
    return [key for key in holding if key.id not in replaced]


def _forget_ended(change: Change, identity: str) -> None:
    """Remove the oldest keys that have ended, beyond as many as are kept."""
    ended = change.connection.execute(
        select(KEYS.c.id)
        .where(KEYS.c.identity == identity, or_(KEYS.c.revoked_at.is_not(None), KEYS.c.expires_at <= change.now))
        .order_by(KEYS.c.created_at.desc(), KEYS.c.id)
        .offset(MOST_ENDED)
    ).scalars()
    for id in ended.all():
        change.connection.execute(delete(KEYS).where(KEYS.c.id == id))
        change.touch("key", id)


def _check_holds(key: KeyRecord, now: float, done: str) -> None:
    ended = "is revoked" if key.revoked_at is not None else ""
    if not ended and key.expires_at is not None and key.expires_at <= now:
        ended = "has expired"
    if ended:
        raise DirectoryError(
            Fault.PRECONDITION, f"the API key {quote(key.id)} {ended} and cannot be {done}", "create a new one"
        )


def _check_not_rotating(key: KeyRecord, holding: list[KeyRecord]) -> None:
    """Neither is it being replaced, nor does the one hold that it replaces."""
    for other in holding:
        if other.rotated_from == key.id:
            raise DirectoryError(
                Fault.PRECONDITION,
                f"the API key {quote(key.id)} is being replaced by {quote(other.id)}",
                "rotate that one, once this one is revoked",
                details={"replaced_by": other.id},
            )
        if other.id == key.rotated_from:
            raise DirectoryError(
                Fault.PRECONDITION,
                f"the API key {quote(other.id)}, which {quote(key.id)} replaces, still holds",
                "revoke it first",
                details={"replaces": other.id},
            )


def _check_name(name: Any, field: str) -> None:
    if not isinstance(name, str) or not name or name != name.strip():
        raise invalid(field, "a key has a name, without white space around it", "say what it is for")
    if len(name) > NAME_LENGTH:
        raise invalid(
            field,
            f"the name of a key has {len(name)} characters; at most {NAME_LENGTH} are taken",
            "shorten it",
            limit=str(NAME_LENGTH),
        )
    if "\n" in name or "\t" in name:
        raise invalid(field, "the name of a key has several lines or tabs", "write it on one line")
    check_text(name, field, "the name of a key", 4 * NAME_LENGTH)


def _check_name_is_free(current: list[KeyRecord], name: str, field: str) -> None:
    for key in current:
        if key.name == name:
            raise DirectoryError(
                Fault.ALREADY_EXISTS,
                f"{quote(key.identity)} has an API key {quote(name)}",
                "choose another name, or rotate that key",
                violations=[Violation(field, "is the name of another key")],
                details={"id": key.id},
            )


def _check_earlier(key: KeyRecord, expires_at: Any, now: float) -> None:
    if expires_at is not None and not isinstance(expires_at, float | int):
        raise invalid("key.expire_time", "that is no time", "give a time in the future")
    check_expiry(expires_at, now, "key.expire_time")
    if key.expires_at is not None and (expires_at is None or expires_at > key.expires_at):
        raise invalid("key.expire_time", "a key can only be made to expire earlier", "rotate it to have one that lasts")


def _check_window(rules: KeyRules, owner: IdentityRecord, expires_at: float | None, now: float, field: str) -> None:
    """An expiry that the bundle permits."""
    if not rules.least_seconds and not rules.most_seconds:
        return
    least, most = rules.least_seconds, rules.most_seconds
    kind = _kind_words(owner)
    if expires_at is None:
        bound = ("expiry_max", most) if most else ("expiry_min", least)
        raise invalid(
            field,
            f"an API key of {kind} needs an expiry",
            f"have it expire in {_window_words(least, most)}",
            **_limit(owner, *bound),
        )
    lasts = expires_at - now
    if least and lasts < least - TOLERANCE:
        raise invalid(
            field,
            f"an API key of {kind} lasts at least {_lasting(least)}, not {_lasting(lasts)}",
            f"have it expire in {_window_words(least, most)}",
            **_limit(owner, "expiry_min", least),
        )
    if most and lasts > most + TOLERANCE:
        raise invalid(
            field,
            f"an API key of {kind} lasts at most {_lasting(most)}, not {_lasting(lasts)}",
            f"have it expire in {_window_words(least, most)}",
            **_limit(owner, "expiry_max", most),
        )


def _as_long(old: KeyRecord, rules: KeyRules, now: float) -> float | None:
    """When a key stops that is to last as long as `old` was to when it was made, within what the bundle permits now."""
    if old.expires_at is None:
        return None
    lasts = max(old.expires_at - old.created_at, rules.least_seconds)
    return now + (min(lasts, rules.most_seconds) if rules.most_seconds else lasts)


def _limit(owner: IdentityRecord, setting: str, value: float, **more: object) -> dict[str, str]:
    kind = "users" if owner.kind is IdentityKind.USER else "service_accounts"
    facts = {"limit_name": f"identities.{kind}.keys.{setting}", "limit": f"{value:g}"}
    return {**facts, **{name: str(fact) for name, fact in more.items()}}


def _kind_words(owner: IdentityRecord) -> str:
    return "a user" if owner.kind is IdentityKind.USER else "a service account"


def _window_words(least: float, most: float) -> str:
    if not most:
        return f"{_lasting(least)} or more"
    return f"{_lasting(least)} to {_lasting(most)}" if least else f"{_lasting(most)} at most"


def _lasting(seconds: float) -> str:
    """A length of time as people say it, in the largest unit in which it is whole, or else about so."""
    units = (("year", YEAR), ("day", DAY), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
    for unit, length in units:
        if seconds >= length and seconds % length == 0:
            return counted(int(seconds // length), unit)
    unit, length = next((one for one in units[1:] if seconds >= 2 * one[1]), units[-1])
    return f"about {counted(round(seconds / length), unit)}"
