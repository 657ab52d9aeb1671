"""What the policy knows of a subject: the reason of a denial that no rule made."""

from authz_sidecar.compile.access import RoleAccess
from authz_sidecar.compile.names import NameSet
from authz_sidecar.compile.snapshot import SectionIndex
from authz_sidecar.decide.own_rules import OwnRules
from authz_sidecar.decide.roles import RoleProbe
from authz_sidecar.values import Reason, Request


class SubjectFacts:
    """Tells why no rule matched: the subject is unknown, has no role in this company, or lacks the grant.

    Facts hold only where the matcher compares the subject with rules; with patterns among names, or in a model that
    does not look at the subject, nobody is unknown.
    """

    def __init__(
        self,
        index: SectionIndex,
        probes: dict[RoleAccess, RoleProbe],
        own: OwnRules | None = None,
    ) -> None:
        self._own = own
        self._probes: list[RoleProbe] = []
        self._named: list[set[str] | NameSet] = []
        self._tells = bool(index.branches)
        self._by_company = False
        for branch in index.branches:
            by_key = [access for access in branch.plan.keys if access.token == "sub"]
            by_role = branch.plan.subject_roles
            if not by_key and not by_role:
                self._tells = False
            self._named += [index.names[key.field].quickest for key in by_key]
            self._named += [index.names[access.field].quickest for access in by_role]
            for access in by_role:
                probe = probes[access]
                if probe.graph.names is not None:
                    self._tells = False
                if probe not in self._probes:
                    self._probes.append(probe)
                    self._by_company = self._by_company or probe.graph.has_domain

    def reason(self, request: Request) -> Reason:
        """The reason of a denial that no rule made."""
        if not self._tells:
            return Reason.NO_MATCHING_RULE
        for probe in self._probes:
            if len(probe.all_roles(request)) > 1:
                return Reason.NO_MATCHING_RULE
        subject = request.subject
        for named in self._named:
            if subject in named:
                return Reason.NO_MATCHING_RULE
        if self._own is not None and self._own.knows(request):
            return Reason.NO_MATCHING_RULE
        if request.identity is not None:
            # The directory knows the subject, whatever it holds.
            return Reason.NO_ROLE_IN_COMPANY if self._by_company else Reason.NO_MATCHING_RULE
        for probe in self._probes:
            if subject in probe.graph.subjects:
                return Reason.NO_ROLE_IN_COMPANY if probe.graph.has_domain else Reason.NO_MATCHING_RULE
        return Reason.UNKNOWN_SUBJECT
