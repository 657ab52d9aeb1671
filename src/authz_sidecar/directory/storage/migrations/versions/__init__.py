"""One module for each schema, numbered without gaps; `migration.SCHEMA` is the last.

A migration is run on stores with data, of both databases, while sidecars of the release before go on using them:

- It adds tables, indexes, and columns that have a `server_default`, and fills them; `schema.py` changes with it.
- What is no longer used is dropped in a later release, which sets `state.readable_from` to the first schema whose
  sidecars no longer use it.
- It names tables and columns itself, and imports nothing of the package: what it does never changes.
"""
