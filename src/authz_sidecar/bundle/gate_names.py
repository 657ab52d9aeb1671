"""What `gates.yaml` names, against the bundle that it belongs to: a gate about nothing would never be broken."""

from collections.abc import Collection, Mapping, Sequence

from authz_sidecar.bundle.definitions import Manifest
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.gates import (
    Gate,
    GatesFile,
    MustStayAllowed,
    MustStayDenied,
    Requests,
    matches,
    requests_of,
)
from authz_sidecar.bundle.own_types import OWN_TYPES
from authz_sidecar.bundle.policy_checks import Vocabulary
from authz_sidecar.bundle.policy_files import Policy
from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.bundle.yaml_definition import Definition
from authz_sidecar.model.model import Model
from authz_sidecar.values.span import Span

_ROLE_FIELDS = ("roles", "except_roles")


def check_gates(
    file: GatesFile, policy: Policy | None, manifest: Manifest | None, model: Model | None, findings: Findings
) -> None:
    """Check all gates. Without a `policy` the bundle is plain Casbin: roles, object types and actions are free there.
    Object types and actions are checked with a `manifest`, numbered sections with a `model`."""
    _Checker(policy, manifest, model, findings).check(file)


class _Checker:
    """The checks of one file of gates."""

    def __init__(
        self, policy: Policy | None, manifest: Manifest | None, model: Model | None, findings: Findings
    ) -> None:
        self._policy = policy
        self._manifest = manifest if policy is not None else None
        self._model = model
        self._findings = findings
        self._vocabulary = Vocabulary(self._manifest, findings)

    def check(self, file: GatesFile) -> None:
        first: dict[str, Gate] = {}
        for gate in file.gates:
            before = first.setdefault(gate.id, gate)
            if before is not gate:
                self._findings.error(
                    gate.value_span("id"),
                    "name-duplicate",
                    f"the gate {quote(gate.id)} is defined twice",
                    f"rename or remove one of them; the other is at {before.span}",
                )
            self._check_gate(gate)

    def _check_gate(self, gate: Gate) -> None:
        predicate = gate.predicate
        for part in requests_of(gate):
            self._check_requests(part)
        parts: tuple[Definition, ...] = (predicate, *requests_of(gate))
        for one in {id(part): part for part in parts}.values():
            for field in _ROLE_FIELDS:
                self._check_roles(one, field, getattr(one, field, []))
        if isinstance(predicate, MustStayAllowed | MustStayDenied) and predicate.assigned is not None:
            if self._policy is None:
                self._refuse(
                    predicate.key_span("assigned"),
                    "field-value",
                    "`assigned` is for bundles with YAML definitions",
                    "name the roles in `roles`; the roles of a plain Casbin bundle are assigned where a link says so",
                )
            elif not predicate.roles:
                self._refuse(
                    predicate.key_span("assigned"),
                    "field-value",
                    "`assigned` narrows `roles`, which the gate does not have",
                    'add `roles: ["*"]`, or remove `assigned`',
                )

    def _refuse(self, span: Span, code: str, message: str, help: str) -> None:
        self._findings.error(span, code, message, help)

    def _check_requests(self, part: Requests) -> None:
        if self._model is not None and part.section and part.section not in self._model.sections:
            numbers = [number for number in self._model.sections if number]
            self._refuse(
                part.value_span("section"),
                "field-value",
                f"the model has no sections numbered {quote(part.section)}",
                f"`section` takes {listed(numbers)}" if numbers else "remove `section`; the model has no numbers",
            )
        if self._policy is None:
            if part.data_domains:
                self._refuse(
                    part.key_span("data_domains"),
                    "field-value",
                    "`data_domains` is for bundles with YAML definitions",
                    "name `objects`; a plain Casbin bundle has no data domains",
                )
            return
        self._check_data_domains(part, self._policy)
        if self._manifest is None:
            return
        types = self._manifest.known_types
        for index, name in enumerate(part.objects):
            span = part.value_span("objects", index)
            if not name.endswith("*"):
                self._vocabulary.check_type(name, span)
            elif not any(matches(name, kind) for kind in types):
                self._unmatched("object type", "unknown-object-type", name, self._manifest.object_types, span)
        # An action that one of the types has is not also that of every other.
        known = self._vocabulary.actions_of(self._types(part, self._policy, types))
        for index, name in enumerate(part.actions):
            if known and not any(matches(name, action) for action in known):
                self._unmatched("action", "unknown-action", name, known, part.value_span("actions", index))

    def _types(self, part: Requests, policy: Policy, types: Mapping[str, object]) -> list[str]:
        """The declared object types that a part of a gate is about."""
        found = [kind for kind in types if any(matches(name, kind) for name in part.objects)]
        for name, domain in policy.data_domains.items():
            if any(matches(pattern, name) for pattern in part.data_domains):
                found += domain.objects
        return found if part.objects or part.data_domains else [kind for kind in types if kind not in OWN_TYPES]

    def _check_data_domains(self, part: Requests, policy: Policy) -> None:
        refused = policy.refused.get("data_domains", set())
        for index, name in enumerate(part.data_domains):
            if not self._is_known(name, policy.data_domains, refused, policy.complete):
                span = part.value_span("data_domains", index)
                self._unmatched("data domain", "unknown-data-domain", name, policy.data_domains, span)

    def _check_roles(self, part: Definition, field: str, names: Sequence[str]) -> None:
        if self._policy is None:
            return
        refused = self._policy.refused.get("roles", set())
        for index, name in enumerate(names):
            if not self._is_known(name, self._policy.roles, refused, self._policy.complete):
                self._unmatched("role", "unknown-role", name, self._policy.roles, part.value_span(field, index))

    @staticmethod
    def _is_known(name: str, known: Collection[str], refused: Collection[str], complete: bool) -> bool:
        """Whether a definition has the name, or one that was written and could not be read may have it."""
        if name == "*" or not complete:
            return True
        return any(matches(name, one) for one in (*known, *refused))

    def _unmatched(self, noun: str, code: str, name: str, known: Collection[str], span: Span) -> None:
        otherwise = f"the bundle has {listed(sorted(known), 'and')}" if known else f"the bundle has no {noun}"
        if name.endswith("*"):
            message, guess = f"no {noun} begins as {quote(name)}", otherwise
        else:
            message, guess = f"unknown {noun} {quote(name)}", suggest(name, known, otherwise)
        self._refuse(span, code, message, guess)
