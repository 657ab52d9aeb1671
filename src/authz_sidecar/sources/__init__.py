"""Floor 6: where policies come from: a directory, and the git commit that names its version."""
