"""What a role inherits, directly and through others."""

from collections.abc import Mapping

from authz_sidecar.bundle.definitions import Role


class Ancestry:
    """The roles above each role of a bundle that loads, in which nothing inherits from itself."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self._roles = roles
        self._above: dict[str, frozenset[str]] = {}

    def above(self, name: str) -> frozenset[str]:
        """Every role that `name` inherits, itself excluded."""
        found = self._above.get(name)
        if found is None:
            # Without recursion: a chain of roles may be longer than Python's stack.
            waiting = [name]
            while waiting:
                current = waiting[-1]
                parents = self._roles[current].inherits
                missing = [parent for parent in parents if parent not in self._above]
                if missing:
                    waiting += missing
                    continue
                self._above[current] = frozenset(parents).union(*[self._above[parent] for parent in parents])
                waiting.pop()
            found = self._above[name]
        return found
