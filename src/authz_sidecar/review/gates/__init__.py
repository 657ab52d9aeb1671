"""Gates, asked: whether a change of the policies, or the policies as they are, keep what `gates.yaml` demands."""
