"""Who may do what, exactly: the access that a policy gives, and what changes between two policies."""
