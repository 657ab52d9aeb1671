"""What the rules of a YAML bundle allow and deny, by object type and action.

It says who might be allowed something, whatever the object's id, company and owner and whatever conditions say: what is
not in here is allowed to nobody.
"""

from collections.abc import Iterable
from typing import TypeAlias

from authz_sidecar.bundle.expansion import ANY
from authz_sidecar.bundle.standard_model import ALWAYS
from authz_sidecar.values import RuleTable

Pair: TypeAlias = tuple[str, str]
"""An object type and an action; `*` is any."""


class Pairs:
    """Object types and actions, asked with wildcards on either side."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._pairs = frozenset(pairs)
        self.types = frozenset(kind for kind, _ in self._pairs)
        self.actions = frozenset(action for _, action in self._pairs)

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def covers(self, kind: str, action: str) -> bool:
        """Whether one of them takes in all of this type and action."""
        pairs = self._pairs
        return (kind, action) in pairs or (kind, ANY) in pairs or (ANY, action) in pairs or (ANY, ANY) in pairs

    def meets(self, kind: str, action: str) -> bool:
        """Whether one of them has something in common with this type and action, of which either may be `*`."""
        if kind == ANY and action == ANY:
            return bool(self._pairs)
        if kind == ANY:
            return action in self.actions or ANY in self.actions
        if action == ANY:
            return kind in self.types or ANY in self.types
        return self.covers(kind, action)


class Allowances:
    """The rules of the table `p` of a YAML bundle.

    `everyone` is what any rule allows, `of` what those of one subject allow (a role is `role:NAME`), `refused` what
    those of one subject in one company (`*`: everywhere) deny without condition for every object and owner.
    """

    def __init__(self, rules: RuleTable) -> None:
        subjects, companies, kinds, ids, actions, scopes, effects, *conditions = rules.columns
        allowed: dict[str, set[Pair]] = {}
        denied: dict[Pair, set[Pair]] = {}
        for subject, kind, action, effect in zip(subjects, kinds, actions, effects, strict=True):
            if effect == "allow":
                found = allowed.get(subject)
                if found is None:
                    found = allowed[subject] = set()
                found.add((kind, action))
        for row, effect in enumerate(effects):
            whatever = ids[row] == ANY and scopes[row] != "own" and all(each[row] == ALWAYS for each in conditions)
            if effect == "deny" and whatever:
                denied.setdefault((subjects[row], companies[row]), set()).add((kinds[row], actions[row]))
        self.subjects = frozenset(subjects)
        self.everyone = Pairs(set[Pair]().union(*allowed.values()))
        self._of = {subject: Pairs(pairs) for subject, pairs in allowed.items()}
        self._refused = {holder: Pairs(pairs) for holder, pairs in denied.items()}

    def of(self, subject: str) -> Pairs:
        """What the rules of `subject` allow."""
        return self._of.get(subject, _NOTHING)

    def refused(self, subject: str, company: str) -> Pairs:
        """What the rules of `subject` in `company` deny, whatever the object."""
        return self._refused.get((subject, company), _NOTHING)


_NOTHING = Pairs(())
