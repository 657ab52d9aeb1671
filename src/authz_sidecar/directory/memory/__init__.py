"""The directory as a sidecar holds it in memory, and how that follows the store."""
