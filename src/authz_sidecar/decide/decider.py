"""The decision: a pure function of snapshot and request, and the closures that make it quick.

    Decider(snapshot).decide(request) -> Decision

A `Decider` is built from a snapshot once and holds getters, probes and conditions; all that it adds to the snapshot is
bounded caches.
"""

from typing import Any

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.directory_links import DEFINITION, Links, directory_links
from authz_sidecar.decide.evaluate import Evaluator
from authz_sidecar.decide.explain import explain_decision, roles_of
from authz_sidecar.decide.filter import SectionFilter
from authz_sidecar.decide.roles import closed, held_roles
from authz_sidecar.decide.section import Decide, SectionDecider, refuse, token_problem, unknown_section
from authz_sidecar.values import Decision, Explanation, Reason, Request, Violation
from authz_sidecar.values.filter import FilterRequest, ObjectFilter, no_objects
from authz_sidecar.values.identity import ANY, Identity
from authz_sidecar.values.request import ROLE_PREFIX


class Decider:
    """Decides and explains requests on one snapshot. Neither raises on a request that `build_request` made.

    `decide` gives the decision on a request; an unknown section, or a token that nothing fills, is INVALID_REQUEST.
    """

    decide: Decide

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._directory = directory_links(snapshot)
        evaluator = Evaluator(snapshot.graphs, self._directory)
        self._sections = {
            suffix: SectionDecider(snapshot, index, evaluator, self._directory)
            for suffix, index in snapshot.sections.items()
        }
        self._filters = {suffix: SectionFilter(snapshot, self._sections[suffix]) for suffix in snapshot.searches}
        # With one section, which is nearly always, there is nothing to select and one call less.
        self.decide = self._sections[""].decide if len(self._sections) == 1 else self._decide_in_section

    def close(self) -> list[dict[Any, Any]]:
        """End it: all that it holds then goes with its last reference and needs no collection.

        To be called once nobody uses it, and before its snapshot is dismantled; deciding raises RuntimeError from now
        on. Gives its caches, which may be dismantled with the snapshot; otherwise they go at once.
        """
        self.decide = closed
        caches: list[dict[Any, Any]] = []
        for section in self._sections.values():
            caches += [*section.close(), section.evaluator.closures]
        return caches if self._directory is None else [*caches, self._directory.translated]

    def _decide_in_section(self, request: Request) -> Decision:
        section = self._sections.get(request.section)
        return section.decide(request) if section is not None else refuse(unknown_section(request))

    def explain(self, request: Request) -> Explanation:
        """The decision with its grounds; slower than deciding, as it may look at every rule."""
        decision = self.decide(request)
        section = self._sections.get(request.section)
        if section is None or decision.reason is Reason.INVALID_REQUEST:
            return Explanation(decision)
        return explain_decision(self.snapshot, section.index, section.evaluator, request, decision, section.own)

    def matching(self, request: Request) -> list[int]:
        """The rows of the rules that match a request, whether or not they decide, in deciding order: the first is the
        one that decides. Of rules that ask the same only the first is told. None match in an invalid request."""
        if self.violations(request):
            return []
        return self._sections[request.section].matching(request)

    def names_action(self, request: Request) -> bool:
        """Whether some rule that allows names the request's action, rather than any action, and matches the request; a
        rule of the identity's own counts like one of the policy. Whether the request is allowed is another question."""
        if self.violations(request):
            return False
        section = self._sections[request.section]
        if section.own is not None and section.own.names(request):
            return True
        return any(section.names_action(row, request.action) for row in section.matching(request))

    def platform_roles(self, identity: Identity, time: float) -> frozenset[str]:
        """The roles that an identity holds in no company, or in all of them, through the directory or the policy, as
        the policy's author calls them. `time` is in seconds since 1970-01-01 UTC."""
        graph = self.snapshot.graphs.get(DEFINITION)
        if graph is None or self._directory is None:
            return frozenset()
        found: set[str] = set()
        for domain in (ANY, "") if graph.has_domain else ("",):
            more = Links(identity.id, self._directory.roles(identity, domain, time))
            found |= held_roles(graph, identity.id, domain, time, more)
        found.discard(identity.id)
        prefix = ROLE_PREFIX if self._directory.yaml else ""
        return frozenset([role.removeprefix(prefix) for role in found])

    def roles(self, request: Request) -> tuple[str, ...]:
        """All roles that the subject holds for a request, itself excluded, sorted; none in an unknown section."""
        section = self._sections.get(request.section)
        return () if section is None else roles_of(self.snapshot, section.index, section.evaluator, request)

    def filter(self, asked: FilterRequest) -> ObjectFilter:
        """Which objects the subject may act on; nothing, for INVALID_REQUEST, where `violations` finds any. Raises
        LookupError on a snapshot that was compiled without searches."""
        section = self._filter_of(asked)
        if section is None:
            return no_objects(Reason.INVALID_REQUEST, unknown_section(asked.request).description)
        return section.filter(asked)

    def filter_named(self, asked: FilterRequest) -> ObjectFilter:
        """`filter`, where what allows must name the action, rather than allow any: the objects for which a check is
        allowed and `names_action` holds."""
        section = self._filter_of(asked)
        if section is None:
            return no_objects(Reason.INVALID_REQUEST, unknown_section(asked.request).description)
        return section.filter(asked, named=True)

    def filter_rows(self, asked: FilterRequest) -> list[int] | None:
        """The rules on which that answer rests: those that can match some of the objects, or fail, in deciding order;
        None where they are too many to follow."""
        section = self._filter_of(asked)
        return [] if section is None else section.rows(asked)

    def _filter_of(self, asked: FilterRequest) -> SectionFilter | None:
        section = self._filters.get(asked.request.section)
        if section is None and asked.request.section in self._sections:
            raise LookupError("the snapshot was compiled without searches")
        return section

    def violations(self, request: Request) -> tuple[Violation, ...]:
        """What makes the request invalid for this model: an unknown section, a request token that neither the request
        nor its context fills, or one that the context fills with text that no value of a request may be."""
        section = self._sections.get(request.section)
        if section is None:
            return (unknown_section(request),)
        return tuple([problem for token in section.context_tokens if (problem := token_problem(request, token))])
