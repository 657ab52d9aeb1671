"""Migrations of the directory's tables; Alembic runs them on a connection that it is given."""
