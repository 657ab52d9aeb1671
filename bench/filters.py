"""Filters in process: `python -m bench.filters SCENARIO`, each scenario in a process of its own.

types      1 M rules and 1 M assignments over 10,000 companies, rules about types of objects
shares     1 M rules about single objects, `type:id`, ten for each role of a company
members    the standard model with the default bundle's roles; subjects of one company, of 100, and of the platform
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence

from authz_sidecar.decide import Decider
from authz_sidecar.values.filter import FilterRequest, build_filter_request
from bench.data import ACTIONS, GRANTS, PLAIN_MODEL, ROLES, USERS_PER_COMPANY, grant, plain_rows
from bench.decisions import COMPANIES, COMPANY_ROLES, compile_files, standard_policy, thousand_subjects
from bench.measure import median, memory_mb, percentile, settle, time_each

ROUNDS = 5
QUESTIONS = 5_000
TYPES_MODEL = PLAIN_MODEL.replace("obj", "type")

# Subject, action, object type, company to narrow to.
Question = tuple[str, str, str, str | None]


def question(asked: Question) -> FilterRequest:
    """The request of a question that is known to be valid."""
    subject, action, object_type, company = asked
    made, violations = build_filter_request(subject, action, object_type, company=company)
    if made is None:
        raise ValueError(violations)
    return made


def measure(decider: Decider, asked: Sequence[Question]) -> dict[str, float]:
    """Median, p99 and longest answer over several rounds in microseconds, and how many of them pass something."""
    time_each(decider.filter, asked, question)
    taken = [time_each(decider.filter, asked, question) for _ in range(ROUNDS)]
    answers = [decider.filter(question(item)) for item in asked]
    if not all(answer.exact for answer in answers):
        raise SystemExit("a filter is not exact")
    return {
        "median_us": median([median(times) for times in taken]) / 1000,
        "p99_us": median([percentile(times, 0.99) for times in taken]) / 1000,
        "max_ms": max(max(times) for times in taken) / 1e6,
        "passing": sum(bool(answer.clauses) for answer in answers) / len(answers),
    }


def questions(narrow: bool, seed: int = 7) -> list[Question]:
    """Questions by the thousand subjects of `bench.decisions`: half for what their role grants, half for anything."""
    chance = random.Random(seed)
    made: list[Question] = []
    subjects = thousand_subjects(COMPANIES)
    for turn in range(QUESTIONS):
        company, user = subjects[turn % len(subjects)]
        if chance.random() < 0.5:
            object_type, action = grant(user % ROLES, chance.randrange(GRANTS))
        else:
            object_type, action = f"type{chance.randrange(ROLES + GRANTS)}", chance.choice(ACTIONS)
        made.append((f"user{company}-{user}", action, object_type, f"company{company}" if narrow else None))
    chance.shuffle(made)
    return made


def types() -> dict[str, object]:
    """The figure: rules about types."""
    text = "\n".join(plain_rows(COMPANIES)).encode()
    decider = Decider(compile_files({"model.conf": TYPES_MODEL.encode(), "policy.csv": text}))
    del text
    settle()
    return {
        "memory_mb": memory_mb(),
        "everywhere": measure(decider, questions(narrow=False)),
        "narrowed": measure(decider, questions(narrow=True)),
    }


def share_rows() -> Iterator[str]:
    """Per company ten roles that may read ten objects each, and a hundred users with a role each."""
    for company in range(COMPANIES):
        for role in range(ROLES):
            for number in range(GRANTS):
                yield f"p, role:{role}, company{company}, folder:{company}-{role}-{number}, read"
        for user in range(USERS_PER_COMPANY):
            yield f"g, user{company}-{user}, role:{user % ROLES}, company{company}"


def shares() -> dict[str, float]:
    """The same size with rules about single objects: every answer lists ten ids."""
    text = "\n".join(share_rows()).encode()
    decider = Decider(compile_files({"model.conf": PLAIN_MODEL.encode(), "policy.csv": text}))
    del text
    settle()
    asked: list[Question] = [
        (f"user{company}-{user}", "read", "folder", None) for company, user in thousand_subjects(COMPANIES)
    ]
    return measure(decider, asked)


def members() -> dict[str, object]:
    """The default bundle with a million assignments."""
    everywhere = [("everywhere", COMPANY_ROLES[company % 4], f"company{company}") for company in range(100)]
    decider, bundle = standard_policy([*everywhere, ("platform", "role:ADMIN", "*")])
    chance = random.Random(5)
    kinds = [(action, name) for name, kind in bundle.manifest.object_types.items() for action in kind.actions]
    of_one: list[Question] = []
    for company, user in thousand_subjects(COMPANIES):
        of_one += [(f"user{company}-{user}", *chance.choice(kinds), None) for _ in range(QUESTIONS // 1000)]
    return {
        "rules": len(bundle.tables["p"]),
        "one_company": measure(decider, of_one),
        "hundred_companies": measure(decider, [("everywhere", *kind, None) for kind in kinds] * 20),
        "platform": measure(decider, [("platform", *kind, None) for kind in kinds] * 20),
    }


SCENARIOS = {"types": types, "shares": shares, "members": members}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
