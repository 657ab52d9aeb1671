"""A secret of the store's own, which seals the page tokens of lists."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add `page_secret`, with its one row."""
    table = op.create_table(
        "page_secret",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_page_secret"),
    )
    op.bulk_insert(table, [{"id": 1, "secret": secrets.token_bytes(32)}])
