"""Periods of roles: the default role covers just what others leave, and roles that do not go together never meet."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.directory.administration.holdings import Holding, check_added, check_always_held, uncovered
from authz_sidecar.directory.storage.errors import DirectoryError, Fault
from authz_sidecar.values.directory_rules import DirectoryRules, RoleFacts
from authz_sidecar.values.identity import FOREVER

TIMES = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
PERIODS = st.tuples(TIMES, TIMES | st.just(FOREVER)).filter(lambda period: period[0] < period[1])
ROLES = st.sampled_from(["primary", "other", "additive", "sole"])
HOLDINGS = st.builds(
    lambda role, company, period: Holding(role, company, "hand", *period),
    ROLES,
    st.sampled_from(["", "a", "b"]),
    PERIODS,
)
RULES = DirectoryRules(
    form="basic",
    roles={
        "primary": RoleFacts("company"),
        "other": RoleFacts("company"),
        "additive": RoleFacts("company", kind="additive"),
        "sole": RoleFacts("company", kind="sole"),
    },
)
MOMENTS = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 9.0]


def at(holdings: list[Holding], moment: float) -> list[Holding]:
    """What is held at a moment."""
    return [holding for holding in holdings if holding.begins <= moment < holding.ends]


@given(st.lists(HOLDINGS, max_size=6), st.sampled_from(MOMENTS))
def test_gaps_are_all_that_others_leave(holdings: list[Holding], now: float) -> None:
    """From now on, a moment lies in exactly one gap or in some holding, never in both; gaps are in order and apart."""
    gaps = uncovered(holdings, now)
    for moment in MOMENTS:
        inside = [gap for gap in gaps if gap.begins <= moment < gap.ends]
        assert len(inside) == (1 if moment >= now and not at(holdings, moment) else 0)
    assert all(first.ends < second.begins for first, second in pairwise(gaps))
    assert all(gap.begins < gap.ends for gap in gaps)


@given(st.lists(HOLDINGS, max_size=8), st.integers(min_value=0, max_value=3), st.integers(min_value=0, max_value=2))
def test_what_is_accepted_one_by_one_holds_at_every_moment(asked: list[Holding], roles: int, companies: int) -> None:
    """Whatever is asked for in whatever order, at no moment does a sole role meet another, nor are there more roles or
    companies than the limits; and what is refused would have broken one of these."""
    rules = DirectoryRules(
        form=RULES.form, roles=RULES.roles, roles_per_identity=roles, companies_per_identity=companies
    )

    def broken(holdings: list[Holding]) -> bool:
        for moment in MOMENTS:
            now = at(holdings, moment)
            names = {holding.role for holding in now}
            if "sole" in names and len(names) > 1:
                return True
            if len({(holding.role, holding.company) for holding in now}) > (roles or math.inf):
                return True
            if len({holding.company for holding in now if holding.company}) > (companies or math.inf):
                return True
        return False

    held: list[Holding] = []
    for holding in asked:
        try:
            check_added(rules, "ann", held, holding)
        except DirectoryError as error:
            refusal: Fault | None = error.fault
        else:
            refusal = None
        assert (refusal in (Fault.PRECONDITION, Fault.LIMIT)) == broken([*held, holding])
        if refusal is None:
            held.append(holding)


@given(st.lists(HOLDINGS, max_size=5), st.lists(HOLDINGS, max_size=5))
def test_only_a_new_gap_is_refused(before: list[Holding], after: list[Holding]) -> None:
    """Where a role is required, a change is refused just if it leaves a moment without that had one."""
    new = [moment for moment in MOMENTS if at(before, moment) and not at(after, moment)]
    gaps = uncovered(before, 0.0), uncovered(after, 0.0)
    if new:
        with pytest.raises(DirectoryError, match="every identity has a role"):
            check_always_held("ann", *gaps)
    else:
        check_always_held("ann", *gaps)
