"""The order of rules under `subjectPriority`: the nearer a rule's subject is to the leaves, the earlier.

Source of the semantics: pycasbin's `sort_policies_by_subject_hierarchy`, which takes the rule's first field as the
subject and its `dom` field, if any, as the domain.
"""

from authz_sidecar.model.model import Section
from authz_sidecar.values import RuleTable


def rank_by_hierarchy(section: Section, table: RuleTable, links: RuleTable) -> list[int]:
    """The rows of `table` sorted by their subject's level, rows of one level in the order of the file.

    Level 0 are names that nobody inherits, level 1 those that only level 0 inherits, and so on; a name without
    links is level 0. Cycles are reported by the role graph; here they only end the levels.
    """
    domains = links.columns[2] if links.width > 2 else [""] * len(links)
    edges = {
        ((domain, name), (domain, role))
        for name, role, domain in zip(links.columns[0], links.columns[1], domains, strict=True)
    }
    parents: dict[tuple[str, str], list[tuple[str, str]]] = {}
    waiting: dict[tuple[str, str], int] = {}
    for child, parent in edges:
        parents.setdefault(child, []).append(parent)
        waiting[parent] = waiting.get(parent, 0) + 1
    level = {child: 0 for child, _ in edges if child not in waiting}
    round_ = list(level)
    number = 0
    while round_:
        number += 1
        following: list[tuple[str, str]] = []
        for child in round_:
            for parent in parents.get(child, ()):
                waiting[parent] -= 1
                if not waiting[parent]:
                    level[parent] = number
                    following.append(parent)
        round_ = following
    at = section.fields.index("dom") if "dom" in section.fields else None

    def key(row: int) -> int:
        domain = "" if at is None else table.columns[at][row]
        return level.get((domain, table.columns[0][row]), 0)

    return sorted(range(len(table)), key=key)
