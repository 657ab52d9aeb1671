"""What lint rules look at, with the analyses that several of them share."""

from collections.abc import Mapping
from functools import cached_property

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.decider import Decider
from authz_sidecar.review.allowances import Allowances
from authz_sidecar.review.ancestry import Ancestry
from authz_sidecar.review.asked import by_question
from authz_sidecar.review.ignores import Ignores
from authz_sidecar.review.implied_roles import ImpliedRole, find_implied_roles
from authz_sidecar.review.redundancy import Redundancies, Redundancy, Redundant, find_redundant
from authz_sidecar.review.role_contents import RoleContent, role_contents
from authz_sidecar.values import Span


class Material:
    """A bundle and its snapshot under review; each analysis is made once, when the first rule asks for it.

    `ignores` are the comments in its files that silence findings. `held_roles` are roles that identities of a directory
    hold; None where no directory was asked.
    """

    def __init__(
        self,
        bundle: Bundle,
        snapshot: Snapshot,
        ignores: Ignores | None = None,
        held_roles: frozenset[str] | None = None,
    ) -> None:
        self.bundle = bundle
        self.snapshot = snapshot
        self.ignores = ignores or Ignores()
        self.held_roles = held_roles

    @cached_property
    def _redundant(self) -> Redundancies:
        return find_redundant(self.bundle, self.snapshot)

    def redundant(self, kind: Redundancy) -> list[Redundant]:
        """The places whose rules no decision depends on for that reason."""
        return [found for found in self._redundant.places if found.kind is kind]

    def redundant_rows(self, section: str) -> frozenset[int]:
        """The rows of a section that no decision depends on, at whatever place."""
        return self._redundant.rows[section]

    @cached_property
    def allowances(self) -> Allowances:
        """What the rules of a YAML bundle allow and deny."""
        return Allowances(self.bundle.tables["p"])

    @cached_property
    def ancestry(self) -> Ancestry:
        """What the roles of a YAML bundle inherit."""
        return Ancestry(self.bundle.roles)

    @cached_property
    def questions(self) -> tuple[tuple[PolicyTest, ...], ...]:
        """The policy tests, those together that ask the same, each in their order."""
        return tuple(map(tuple, by_question(self.bundle.tests).values()))

    @cached_property
    def implied_roles(self) -> Mapping[Span, ImpliedRole]:
        """The roles of assignments and group mappings that others give anyway, by place."""
        found = find_implied_roles(self.bundle, self.ancestry)
        return {implied.entry.value_span("roles", implied.index): implied for implied in found}

    @cached_property
    def role_contents(self) -> tuple[RoleContent, ...]:
        """What each role says, to be compared."""
        return role_contents(self.bundle, self.snapshot)

    @cached_property
    def decider(self) -> Decider:
        """Decides on the snapshot."""
        return Decider(self.snapshot)

    @property
    def noun(self) -> str:
        """What the bundle's form calls a row of `p`: `grant` or `rule`."""
        return "grant" if self.bundle.form == "yaml" else "rule"
