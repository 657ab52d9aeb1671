"""Backups of a store while it serves, and their restore."""
