"""What administration reads of the policy that is in force."""

from collections.abc import Callable

import msgspec

from authz_sidecar.values.directory_rules import DirectoryRules


def holds_nothing(_subject: str) -> tuple[tuple[str, str], ...]:
    """Of a policy that assigns no roles itself."""
    return ()


def gives_nothing(_subject: str) -> frozenset[str]:
    """Of a policy that gives nobody anything by name."""
    return frozenset()


class PolicyView(msgspec.Struct, frozen=True):
    """The policy, at one version: `rules` are kept by every change.

    `held(subject)` are the roles that the bundle itself assigns to an identity, as (role, company), company "" on the
    platform: they count where roles are counted or must go together. `places(subject)` are the companies, "" for the
    platform, where the bundle gives an identity anything by its name: roles, also for a time that is still to come, and
    grants of its own.
    """

    rules: DirectoryRules
    policy_version: str = ""
    held: Callable[[str], tuple[tuple[str, str], ...]] = holds_nothing
    places: Callable[[str], frozenset[str]] = gives_nothing
