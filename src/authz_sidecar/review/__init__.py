"""Floor 5: what reviewers of a policy ask: lint and policy tests, pure over bundle and snapshot."""
