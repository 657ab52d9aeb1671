"""The tables of the directory, for SQLite and PostgreSQL alike. `migrations/` brings a store to them.

Times are seconds since 1970-01-01 UTC, as floats; null is never. Ids of records are made by `new_id`. Every row that a
change may touch has the `revision` of its last change, which is its etag. Whoever changes a table here adds a
migration, as `migrations/versions` explains.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
)
from sqlalchemy import Text as PlainText

# Compared and ordered byte by byte on both databases, whatever language PostgreSQL was set up with: lists have the same
# order, and an index serves beginnings.
Text = PlainText().with_variant(PlainText(collation="C"), "postgresql")

# One name for each constraint on both databases, so that a migration can name it.
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA = MetaData(naming_convention=_NAMES)
"""What a directory holds: all of it is in a backup, and a restore replaces all of it."""

OWN_METADATA = MetaData(naming_convention=_NAMES)
"""What belongs to one store alone, and is in no backup of it."""


def _identity(name: str = "identity", *, index: bool = True) -> Column[str]:
    return Column(name, Text, ForeignKey("identities.id", ondelete="CASCADE"), nullable=False, index=index)


# One row: where the directory stands. Each change locks it, so that revisions and audit records follow without gaps.
# `epoch` is another one after a restore. `bootstrapped_at` is when the first administrator was made. `readable_from` is
# the oldest schema whose sidecars may still read and change the store (`migration.SCHEMA` of theirs).
STATE = Table(
    "state",
    METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("audit_sequence", BigInteger, nullable=False),
    Column("audit_hash", LargeBinary, nullable=False),
    Column("changes_from", BigInteger, nullable=False),
    Column("bootstrapped_at", Double),
    Column("readable_from", Integer, nullable=False, server_default="1"),
)

# `kind` is a number of IdentityKind. `folded_name` is `name` as it is compared where names are unique.
IDENTITIES = Table(
    "identities",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    Column("company", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("folded_name", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False),
    Column("flags", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("ix_identities_company_kind_folded_name", "company", "kind", "folded_name"),
    Index("ix_identities_name", "name"),
)

# `source` is `hand`, `default` (the manifest's default role) or `group:NAME`.
ASSIGNMENTS = Table(
    "assignments",
    METADATA,
    Column("id", Text, primary_key=True),
    _identity(),
    Column("role", Text, nullable=False),
    Column("company", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("begins_at", Double),
    Column("expires_at", Double),
    Column("break_glass", Boolean, nullable=False),
    Column("justification", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("ix_assignments_role_identity", "role", "identity"),
)

GRANTS = Table(
    "grants",
    METADATA,
    Column("id", Text, primary_key=True),
    _identity(),
    Column("company", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("actions", JSON, nullable=False),
    Column("scope", Text, nullable=False),
    Column("effect", Text, nullable=False),
    Column("condition", Text, nullable=False),
    Column("expires_at", Double),
    Column("description", Text, nullable=False),
    Column("justification", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

SHARES = Table(
    "shares",
    METADATA,
    Column("id", Text, primary_key=True),
    _identity(),
    Column("company", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("actions", JSON, nullable=False),
    Column("impersonation", Boolean, nullable=False),
    Column("expires_at", Double),
    Column("justification", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

# `hash` is SHA-256 of the secret. `rotated_from` is the key that this one is to replace.
KEYS = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    _identity(),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Column("rotated_from", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

# `sliding_seconds` is by how much use extends it (0: not), `ends_at` when it ends all the same.
TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", Text, primary_key=True),
    _identity(),
    Column("hash", LargeBinary, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("sliding_seconds", Double, nullable=False),
    Column("ends_at", Double),
    Column("revoked_at", Double),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

PASSWORDS = Table(
    "passwords",
    METADATA,
    Column("identity", Text, ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, nullable=False),
    Column("changed_at", Double, nullable=False),
)

# Failed sign-ins, by `identity:ID` or `address:TEXT`.
FAILURES = Table(
    "failures",
    METADATA,
    Column("subject", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("failed_at", Double, nullable=False, index=True),
    Column("locked_until", Double, nullable=False),
)

# What each revision touched: `kind` is `identity` (all that decisions read of it), `key` or `token`. Those who follow
# read what is touched anew. Revisions from `state.changes_from` on are here in full.
CHANGES = Table(
    "changes",
    METADATA,
    Column("revision", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("at", Double, nullable=False),
)

# `record` is the text that `hash` covers, which has the hash before it; the other columns repeat what queries ask for.
# `audit.chain.row` makes all of them.
AUDIT = Table(
    "audit",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False, index=True),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("on_behalf_of", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("company", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # Lists are in the order of the sequence, whatever they ask for.
    Index("ix_audit_actor_sequence", "actor", "sequence"),
    Index("ix_audit_on_behalf_of_sequence", "on_behalf_of", "sequence"),
    Index("ix_audit_subject_sequence", "subject", "sequence"),
    Index("ix_audit_company_sequence", "company", "sequence"),
    Index("ix_audit_action_sequence", "action", "sequence"),
)

# Checkpoints that stand for records which retention has removed, and others, as they were signed.
CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("document", Text, nullable=False),
)

# Creates that may be asked again: what was asked under a key of the caller's, and which record it made.
IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("operation", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("result", Text, nullable=False),
    Column("at", Double, nullable=False, index=True),
)

# One row: the secret, of 32 bytes, that seals the page tokens of lists. All who serve the store read it here, so that a
# token of one sidecar is good at another; it is nowhere else.
PAGE_SECRET = Table(
    "page_secret",
    OWN_METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
)

__all__ = ["METADATA", "OWN_METADATA"]
