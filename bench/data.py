"""Generated policies and traffic: deterministic, so that two runs measure the same work."""

import random
from collections.abc import Iterator

from authz_sidecar.values import Request, build_request

PLAIN_MODEL = """\
[request_definition]
r = sub, dom, obj, act

[policy_definition]
p = sub, dom, obj, act

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act
"""
ROLES = 10
GRANTS = 10
ACTIONS = ("read", "update", "create", "delete")
RULES_PER_COMPANY = ROLES * GRANTS
USERS_PER_COMPANY = 100


def grant(role: int, number: int) -> tuple[str, str]:
    """The object type and action that a role's nth grant is about; neighbouring roles share objects."""
    return f"type{(role + number) % (ROLES + GRANTS)}", ACTIONS[number % len(ACTIONS)]


def plain_rows(companies: int) -> Iterator[str]:
    """Rows of plain RBAC with domains: per company 10 roles with 10 grants each, and 100 users with a role each."""
    for company in range(companies):
        for role in range(ROLES):
            for number in range(GRANTS):
                object_type, action = grant(role, number)
                yield f"p, role:{role}, company{company}, {object_type}, {action}"
        for user in range(USERS_PER_COMPANY):
            yield f"g, user{company}-{user}, role:{user % ROLES}, company{company}"


# Subject, action, object type, object id, company, owner.
Question = tuple[str, str, str, str, str, str]


def plain_traffic(subjects: list[tuple[int, int]], requests: int, seed: int = 1) -> list[Question]:
    """Questions by the given (company, user) pairs in turn: half for what their role grants, half for anything."""
    chance = random.Random(seed)
    made: list[Question] = []
    for turn in range(requests):
        company, user = subjects[turn % len(subjects)]
        if chance.random() < 0.5:
            object_type, action = grant(user % ROLES, chance.randrange(GRANTS))
        else:
            object_type, action = f"type{chance.randrange(ROLES + GRANTS)}", chance.choice(ACTIONS)
        made.append((f"user{company}-{user}", action, object_type, "", f"company{company}", ""))
    chance.shuffle(made)
    return made


def request(question: Question) -> Request:
    """The request that asks a question which is known to be valid."""
    subject, action, object_type, object_id, company, owner = question
    built, violations = build_request(subject, action, type=object_type, id=object_id, company=company, owner=owner)
    if built is None:
        raise ValueError(violations)
    return built
