"""Numbered sets (`r2`, `p2`, `m2`) decide as pycasbin decides them, and apart from the first set."""

import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.decide.casbin_judge import decider
from tests.decide.test_against_pycasbin import agree, requests, systems


def renumbered(text: str) -> str:
    """The text of a matcher or a condition, written for the second set."""
    return re.sub(r"\b([rp])\.", r"\g<1>2.", text)


def beside_a_first_set(model: str, policy: str) -> tuple[str, str]:
    """The same model and policy as a second set; the first set lets `first` read what the second is about."""
    roles = "\n".join(re.findall(r"^g\d? = .*$", model, re.MULTILINE))
    parts = dict(re.findall(r"^([a-z]) = (.*)$", model, re.MULTILINE))
    text = (
        f"[request_definition]\nr = {parts['r']}\nr2 = {parts['r']}\n"
        f"[policy_definition]\np = sub, act\np2 = {parts['p']}\n"
        f"[role_definition]\n{roles}\n"
        f"[policy_effect]\ne = {parts['e']}\n"
        f"[matchers]\nm = r.sub == p.sub && r.act == p.act\nm2 = {renumbered(parts['m'])}"
    )
    rows = [renumbered(re.sub(r"^p,", "p2,", row)) for row in policy.splitlines()]
    return text, "\n".join(["p, alice, read", "p, carol, write", *rows])


@given(st.data(), systems())
def test_second_sets_decide_as_those_of_pycasbin(data: st.DataObject, system: tuple[str, str, dict[str, str]]) -> None:
    """A random model written as a second set answers as pycasbin answers for that set, and the first set as its own."""
    model, policy, matching = system
    text, rows = beside_a_first_set(model, policy)
    ours = decider(text, rows, matching)
    for drawn in data.draw(st.lists(requests(model, policy), min_size=6, max_size=12)):
        for section in ("2", ""):
            request = msgspec.structs.replace(drawn, section=section)
            agree(text, rows, matching, request, ours.decide(request))
