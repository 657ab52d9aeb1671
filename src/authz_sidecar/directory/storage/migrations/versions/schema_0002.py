"""Names that are compared without regard to case, and how far back a store may be read."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROWS_AT_ONCE = 1_000


def upgrade() -> None:
    """Add `state.readable_from`; add `identities.folded_name`, filled, with what finds it."""
    op.add_column("state", sa.Column("readable_from", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("identities", sa.Column("folded_name", TEXT, nullable=False, server_default=""))
    _fold_names(op.get_bind())
    op.create_index("ix_identities_company_kind_folded_name", "identities", ["company", "kind", "folded_name"])
    op.create_index("ix_identities_name", "identities", ["name"])
    # The longer one serves whatever it served.
    op.drop_index("ix_identities_company_kind", "identities")


def _fold_names(connection: sa.Connection) -> None:
    identities = sa.table("identities", sa.column("id", TEXT), sa.column("name", TEXT), sa.column("folded_name", TEXT))
    fill = (
        sa.update(identities).where(identities.c.id == sa.bindparam("key")).values(folded_name=sa.bindparam("folded"))
    )
    page = sa.select(identities.c.id, identities.c.name).order_by(identities.c.id).limit(ROWS_AT_ONCE)
    last = ""
    while rows := connection.execute(page.where(identities.c.id > last)).all():
        connection.execute(fill, [{"key": id, "folded": _fold(name)} for id, name in rows])
        last = rows[-1].id


def _fold(name: str) -> str:
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return " ".join(seen.casefold().split())
