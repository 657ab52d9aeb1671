"""Floor 8: the directory of identities: who is who, who holds which role, credentials, shares; and all I/O of it."""
