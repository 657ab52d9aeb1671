"""The tables of the first directories."""

import hashlib
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables, and the one row of `state`."""
    op.create_table(
        "state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("audit_sequence", sa.BigInteger(), nullable=False),
        sa.Column("audit_hash", sa.LargeBinary(), nullable=False),
        sa.Column("changes_from", sa.BigInteger(), nullable=False),
        sa.Column("bootstrapped_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_state"),
    )
    op.create_table(
        "identities",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("company", TEXT, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_identities"),
    )
    op.create_index("ix_identities_company_kind", "identities", ["company", "kind"])
    op.create_table(
        "assignments",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("company", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("begins_at", sa.Double()),
        sa.Column("expires_at", sa.Double()),
        sa.Column("break_glass", sa.Boolean(), nullable=False),
        sa.Column("justification", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.id"], name="fk_assignments_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_assignments"),
    )
    op.create_index("ix_assignments_identity", "assignments", ["identity"])
    op.create_index("ix_assignments_role_identity", "assignments", ["role", "identity"])
    op.create_table(
        "grants",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("company", TEXT, nullable=False),
        sa.Column("object_type", TEXT, nullable=False),
        sa.Column("object_id", TEXT, nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("scope", TEXT, nullable=False),
        sa.Column("effect", TEXT, nullable=False),
        sa.Column("condition", TEXT, nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("justification", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.id"], name="fk_grants_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
    )
    op.create_index("ix_grants_identity", "grants", ["identity"])
    op.create_table(
        "shares",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("company", TEXT, nullable=False),
        sa.Column("object_type", TEXT, nullable=False),
        sa.Column("object_id", TEXT, nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("impersonation", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("justification", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.id"], name="fk_shares_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_shares"),
    )
    op.create_index("ix_shares_identity", "shares", ["identity"])
    op.create_table(
        "keys",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.Column("last_used_at", sa.Double()),
        sa.Column("rotated_from", TEXT, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.id"], name="fk_keys_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
    )
    op.create_index("ix_keys_identity", "keys", ["identity"])
    op.create_table(
        "tokens",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("sliding_seconds", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.id"], name="fk_tokens_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_index("ix_tokens_expires_at", "tokens", ["expires_at"])
    op.create_index("ix_tokens_identity", "tokens", ["identity"])
    op.create_table(
        "passwords",
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["identity"], ["identities.id"], name="fk_passwords_identity", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("identity", name="pk_passwords"),
    )
    op.create_table(
        "failures",
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.Double(), nullable=False),
        sa.Column("locked_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_failures"),
    )
    op.create_index("ix_failures_failed_at", "failures", ["failed_at"])
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("revision", "number", name="pk_changes"),
    )
    op.create_table(
        "audit",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("on_behalf_of", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("company", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit"),
    )
    op.create_index("ix_audit_action_sequence", "audit", ["action", "sequence"])
    op.create_index("ix_audit_actor_sequence", "audit", ["actor", "sequence"])
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_company_sequence", "audit", ["company", "sequence"])
    op.create_index("ix_audit_on_behalf_of_sequence", "audit", ["on_behalf_of", "sequence"])
    op.create_index("ix_audit_subject_sequence", "audit", ["subject", "sequence"])
    op.create_table(
        "checkpoints",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_checkpoints"),
    )
    op.create_table(
        "idempotency",
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("operation", TEXT, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("result", TEXT, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])
    state = sa.table(
        "state", *map(sa.column, ("id", "epoch", "revision", "audit_sequence", "audit_hash", "changes_from"))
    )
    # What the first record of the audit follows is the same for every store.
    genesis = hashlib.sha256(b"authz-sidecar audit").digest()
    op.bulk_insert(
        state,
        [
            {
                "id": 1,
                "epoch": secrets.token_hex(8),
                "revision": 0,
                "audit_sequence": 0,
                "audit_hash": genesis,
                "changes_from": 1,
            }
        ],
    )
