"""What is said about the policy that is served and the one that was refused."""

from authz_sidecar.engine import DirectoryStatus, IssuerStatus, PolicyStatus
from authz_sidecar.engine.status import OUTCOMES, Refusal

WHY = "roles.yaml:12:16: unknown role `CLINET`"


def test_before_the_first_policy() -> None:
    """Before anything is loaded the status says so, and nothing has been counted."""
    status = PolicyStatus()
    assert status.sentence == "serving no policy"
    assert (status.policy_version, status.loaded_at, status.refused) == ("", 0.0, None)
    assert status.reloads == dict.fromkeys(OUTCOMES, 0)


def test_a_policy_that_is_taken() -> None:
    """A policy that is taken is named with the time since when it is served, and counted as loaded."""
    status = PolicyStatus()
    status.take("A", 100.0)
    assert status.sentence == "serving A"
    assert (status.policy_version, status.loaded_at) == ("A", 100.0)
    assert status.reloads == dict.fromkeys(OUTCOMES, 0) | {"loaded": 1}


def test_a_refused_policy_stands_beside_the_one_that_is_served() -> None:
    """A refusal says which was refused, why and since when; what was served goes on."""
    status = PolicyStatus()
    status.take("A", 100.0)
    status.refuse("B", WHY, 200.0)
    assert status.sentence == f"serving A, refused B because {WHY}"
    assert (status.policy_version, status.loaded_at, status.refused) == ("A", 100.0, Refusal("B", WHY, 200.0))
    assert status.reloads == dict.fromkeys(OUTCOMES, 0) | {"loaded": 1, "refused": 1}


def test_the_newest_refusal_counts() -> None:
    """A second refusal takes the place of the first, and both are counted."""
    status = PolicyStatus()
    status.refuse("B", WHY, 200.0)
    status.refuse("C", "it could not be compiled", 300.0, failed=True)
    assert status.sentence == "serving no policy, refused C because it could not be compiled"
    assert status.reloads == dict.fromkeys(OUTCOMES, 0) | {"refused": 1, "failed": 1}


def test_what_cannot_be_read_has_no_version() -> None:
    """A bundle without a version is named in words."""
    status = PolicyStatus()
    status.take("A", 100.0)
    status.refuse("", "`policies` is gone", 200.0)
    assert status.sentence == "serving A, refused a bundle that cannot be read because `policies` is gone"


def test_a_policy_that_is_taken_ends_the_refusal() -> None:
    """With the next policy that is taken nothing is refused any more, also where only its version is new."""
    for renamed, outcome in ((False, "loaded"), (True, "renamed")):
        status = PolicyStatus()
        status.refuse("B", WHY, 200.0)
        status.take("C", 300.0, renamed=renamed)
        assert (status.sentence, status.refused) == ("serving C", None)
        assert status.reloads == dict.fromkeys(OUTCOMES, 0) | {"refused": 1, outcome: 1}


def test_statuses_count_apart() -> None:
    """Two statuses share no counts."""
    PolicyStatus().take("A", 1.0)
    assert PolicyStatus().reloads == dict.fromkeys(OUTCOMES, 0)


def test_what_was_never_seen_is_stale() -> None:
    """A policy from a source that nobody knows to have been seen is older than any staleness that is allowed."""
    status = PolicyStatus(max_staleness=10)
    assert not status.is_stale(100)
    status.take("a", 100)
    assert status.is_stale(100)
    status.see(100)
    assert (status.is_stale(110), status.is_stale(111)) == (False, True)


def test_of_several_directories_the_worst_is_told() -> None:
    """What is true of two processes is the least that either knows, and that anything fails in one of them; how long
    one has said nothing counts for it."""
    one = DirectoryStatus(checkpoint_age=5.0, issuers=(IssuerStatus("a", 2, 1.0), IssuerStatus("b", 1, 9.0)))
    two = DirectoryStatus(audit_failing=True, issuers=(IssuerStatus("a", 3, 4.0), IssuerStatus("b", 0, 2.0)))
    worst = one.worse(two, 1.0)
    assert worst.issuers == (IssuerStatus("a", 2, 5.0), IssuerStatus("b", 0, 9.0))
    assert (worst.audit_failing, worst.checkpoint_failing, worst.checkpoint_age) == (True, False, 5.0)
    assert two.worse(one, 1.0).checkpoint_age == 6.0
