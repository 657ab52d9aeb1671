"""Access tokens: made, listed and ended. Each stands for one identity for a while; `use` extends those that slide."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update

from authz_sidecar.bundle.wording import quote
from authz_sidecar.directory.administration.operation import Changed, Operations, invalid, read_page
from authz_sidecar.directory.administration.policy import PolicyView
from authz_sidecar.directory.administration.role_changes import kind_rules
from authz_sidecar.directory.storage.change import Change
from authz_sidecar.directory.storage.errors import DirectoryError, Fault, not_found
from authz_sidecar.directory.storage.records import Actor, IdentityRecord, Issued, Page, TokenRecord
from authz_sidecar.directory.storage.rows import audited, find_identity
from authz_sidecar.directory.storage.schema import ASSIGNMENTS, TOKENS
from authz_sidecar.directory.storage.secrets import NewSecret, SecretKind, create_secret, find_id
from authz_sidecar.values.directory_rules import DAY, TokenRules

OBJECT_TYPE = "sidecar.token"
# Tokens of one identity that hold at a time.
MOST_TOKENS = 1_000
# Tokens that no longer hold are kept for a while, so that whoever still sends one is told why it is refused.
KEPT_SECONDS = 7 * DAY
# How many of those at most are removed when one is made: more than come to be.
REMOVED_AT_ONCE = 100

_COLUMNS = [TOKENS.c[name] for name in TokenRecord.__struct_fields__]


class TokenAdministration(Operations):
    """Operations on access tokens. Their lifetime is that of a role that the identity holds, or else of its kind."""

    def create_token(self, actor: Actor, identity: str, *, justification: str = "", dry_run: bool = False) -> Changed:
        """Make a token: `Changed.record` is an `Issued`, whose secret is "" in a dry run.

        Raises DirectoryError: NOT_FOUND, PRECONDITION for an identity that is switched off, LIMIT.
        """
        made = create_secret(SecretKind.TOKEN)

        def work(change: Change) -> TokenRecord:
            owner = find_identity(change.connection, identity)
            if not owner.active:
                raise DirectoryError(
                    Fault.PRECONDITION,
                    f"the identity {quote(identity)} is switched off, so a token would be good for nothing",
                    "switch it on first",
                )
            live = _live_tokens(change, identity)
            if len(live) >= MOST_TOKENS:
                raise DirectoryError(
                    Fault.LIMIT,
                    f"{quote(identity)} has {MOST_TOKENS:,} access tokens, the most that hold at a time",
                    "revoke those that are not needed",
                    details={"limit": str(MOST_TOKENS)},
                )
            record = self.insert_token(change, owner, made, change.actor.id)
            change.audit(
                "token.create",
                subject=identity,
                company=owner.company,
                object_type=OBJECT_TYPE,
                object_id=record.id,
                after=audited(record),
                justification=justification,
                policy_version=self.policy().policy_version,
            )
            return record

        record, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(Issued(record=record, secret="" if dry_run else made.text), revision)

    def list_tokens(self, identity: str, *, page_size: int = 0, page_token: str = "") -> Page:
        """The tokens of an identity that still hold, in the order of their ids. Raises DirectoryError(NOT_FOUND)."""
        now = self.clock()
        with self.reading() as connection:
            find_identity(connection, identity)
            query = select(*_COLUMNS).where(
                TOKENS.c.identity == identity, TOKENS.c.revoked_at.is_(None), TOKENS.c.expires_at > now
            )
            return read_page(
                connection, query, TOKENS.c.id, _record, asked=(identity,), page_size=page_size, page_token=page_token
            )

    def get_token(self, id: str) -> TokenRecord:
        """One token. Raises DirectoryError(NOT_FOUND)."""
        with self.reading() as connection:
            return _read_token(connection, id)

    def revoke_token(self, actor: Actor, id: str, *, justification: str = "", dry_run: bool = False) -> Changed:
        """End a token for good, at once. One that has ended stays as it is. Raises DirectoryError(NOT_FOUND)."""

        def work(change: Change) -> TokenRecord:
            token = _read_token(change.connection, id)
            if token.revoked_at is None:
                self._revoke(change, token.identity, [token], justification)
            return _read_token(change.connection, id)

        record, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(record, revision)

    def revoke_tokens(self, actor: Actor, identity: str, *, justification: str = "", dry_run: bool = False) -> Changed:
        """End all tokens of an identity, at once: `Changed.record` is how many held until now. Raises
        DirectoryError(NOT_FOUND)."""

        def work(change: Change) -> int:
            find_identity(change.connection, identity)
            ending = _extendable_tokens(change, identity)
            self._revoke(change, identity, ending, justification)
            return sum(token.expires_at > change.now for token in ending)

        count, revision = self.perform(actor, work, dry_run=dry_run)
        return Changed(count, revision)

    def insert_token(self, change: Change, owner: IdentityRecord, made: NewSecret, created_by: str) -> TokenRecord:
        """Write a new token of an identity and remove some that have ended long ago. The caller audits it."""
        rules = token_rules(self.policy(), owner, change)
        most = rules.most_seconds or (TokenRules().most_seconds if rules.sliding else 0.0)
        ends_at = change.now + most if most else None
        expires_at = change.now + rules.seconds
        record = TokenRecord(
            id=made.id,
            identity=owner.id,
            expires_at=expires_at if ends_at is None else min(expires_at, ends_at),
            sliding_seconds=rules.seconds if rules.sliding else 0.0,
            ends_at=ends_at,
            created_by=created_by,
            created_at=change.now,
            revision=change.revision,
        )
        change.connection.execute(insert(TOKENS), {**msgspec.structs.asdict(record), "hash": made.hash})
        change.touch("token", record.id)
        _remove_ended(change)
        return record

    def make_room(self, change: Change, identity: str) -> None:
        """End the tokens that would stop first, where an identity that signs in has as many as it may."""
        live = _live_tokens(change, identity)
        excess = len(live) - MOST_TOKENS + 1
        if excess > 0:
            live.sort(key=lambda token: token.expires_at)
            self._revoke(change, identity, live[:excess], "")

    def end_own_tokens(self, change: Change, identity: str) -> int:
        """End the tokens that an identity got for itself, as by signing in; gives how many."""
        own = [token for token in _extendable_tokens(change, identity) if token.created_by == identity]
        self._revoke(change, identity, own, "")
        return len(own)

    def _revoke(self, change: Change, identity: str, tokens: list[TokenRecord], justification: str) -> None:
        owner = find_identity(change.connection, identity)
        for token in tokens:
            # It is removed some time after its end, which is now at the latest.
            change.connection.execute(
                update(TOKENS)
                .where(TOKENS.c.id == token.id)
                .values(revoked_at=change.now, expires_at=min(token.expires_at, change.now), revision=change.revision)
            )
            change.touch("token", token.id)
            change.audit(
                "token.revoke",
                subject=identity,
                company=owner.company,
                object_type=OBJECT_TYPE,
                object_id=token.id,
                before=audited(token),
                after={**audited(token), "revoked_at": change.now, "revision": change.revision},
                justification=justification,
                policy_version=self.policy().policy_version,
            )


def token_rules(policy: PolicyView, owner: IdentityRecord, change: Change) -> TokenRules:
    """The lifetime of an identity's tokens: of the roles that it holds now the one with the shortest, or its kind's."""
    rules = policy.rules
    if not rules.role_tokens:
        return kind_rules(rules, owner.kind).tokens
    now = change.now
    held = change.connection.execute(
        select(ASSIGNMENTS.c.role).where(
            ASSIGNMENTS.c.identity == owner.id,
            or_(ASSIGNMENTS.c.begins_at.is_(None), ASSIGNMENTS.c.begins_at <= now),
            or_(ASSIGNMENTS.c.expires_at.is_(None), ASSIGNMENTS.c.expires_at > now),
        )
    ).scalars()
    names = {*held, *(role for role, _ in policy.held(owner.id))}
    found = [rules.role_tokens[name] for name in names if name in rules.role_tokens]
    return min(found, key=lambda token: token.seconds, default=kind_rules(rules, owner.kind).tokens)


def _record(row: Row[Any]) -> TokenRecord:
    return TokenRecord(**{name: getattr(row, name) for name in TokenRecord.__struct_fields__})


def check_is_id(id: str) -> None:
    """Refuse a whole credential where its id is asked, without saying it again. Raises DirectoryError(INVALID)."""
    found = find_id(id)
    if found:
        raise invalid(
            "id", "a whole credential is given where its id is asked", f"give `{found}`, and keep the rest secret"
        )


def _read_token(connection: Any, id: str) -> TokenRecord:
    check_is_id(id)
    # PostgreSQL takes no NUL in a text.
    row = None if "\0" in id else connection.execute(select(*_COLUMNS).where(TOKENS.c.id == id)).one_or_none()
    if row is None:
        raise not_found("access token", id)
    return _record(row)


def _live_tokens(change: Change, identity: str) -> list[TokenRecord]:
    return _tokens(change, identity, TOKENS.c.expires_at > change.now)


def _extendable_tokens(change: Change, identity: str) -> list[TokenRecord]:
    """The tokens that hold, or may hold in a sidecar that has extended them and has not written that yet."""
    extended = and_(TOKENS.c.sliding_seconds > 0, or_(TOKENS.c.ends_at.is_(None), TOKENS.c.ends_at > change.now))
    return _tokens(change, identity, or_(TOKENS.c.expires_at > change.now, extended))


def _tokens(change: Change, identity: str, which: ColumnElement[bool]) -> list[TokenRecord]:
    rows = change.connection.execute(
        select(*_COLUMNS)
        .where(TOKENS.c.identity == identity, TOKENS.c.revoked_at.is_(None), which)
        .order_by(TOKENS.c.id)
    )
    return [_record(row) for row in rows]


def _remove_ended(change: Change) -> None:
    """Remove some of the tokens that have ended long ago."""
    old = (
        change.connection.execute(
            select(TOKENS.c.id)
            .where(TOKENS.c.expires_at < change.now - KEPT_SECONDS)
            .order_by(TOKENS.c.expires_at)
            .limit(REMOVED_AT_ONCE)
        )
        .scalars()
        .all()
    )
    if old:
        change.connection.execute(delete(TOKENS).where(TOKENS.c.id.in_(old)))
        for id in old:
            change.touch("token", id)
