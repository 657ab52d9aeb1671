"""Floor 7: the audit: an append-only chain of records of who did what, its checkpoints, and what is read from it."""
