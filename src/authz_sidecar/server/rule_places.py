"""Where rules were written, and whom they are for, as text for logs."""

from authz_sidecar.decide.decider import Decider

# Rules whose text is kept, for the policy that is current.
MAX_PLACES = 65_536


class RulePlaces:
    """Where rules were written, and whom they are for, as text; kept for the policy that was asked last."""

    def __init__(self) -> None:
        self._decider: Decider | None = None
        self._known: dict[tuple[str, int], tuple[str, str]] = {}

    def of(self, section: str, row: int, decider: Decider | None) -> tuple[str, str]:
        """The place of a rule and the role or identity that it names; nothing for no rule (-1)."""
        if row < 0 or decider is None:
            return "", ""
        if decider is not self._decider or len(self._known) >= MAX_PLACES:
            self._decider = decider
            self._known = {}
        found = self._known.get((section, row))
        if found is None:
            snapshot = decider.snapshot
            index = snapshot.sections[section]
            table = snapshot.tables[index.section.ptype]
            found = self._known[section, row] = (str(table.span(row)), index.role_of(table, row))
        return found
