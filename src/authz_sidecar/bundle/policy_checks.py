"""What only all definitions together can show: names that mean nothing, roles that contradict each other,
assignments beyond the limits. Everything found is reported; nothing here changes the policy."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from authz_sidecar.bundle.definitions import Assignment, DataDomainUse, Flag, Grant, GroupMapping, Manifest, Role
from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.own_types import OWN_PREFIX, OWN_TYPES
from authz_sidecar.bundle.policy_files import Policy
from authz_sidecar.bundle.standard_model import Form, standard_model
from authz_sidecar.bundle.wording import listed, quote, suggest
from authz_sidecar.bundle.yaml_definition import Place
from authz_sidecar.model.grammar import parse_expression
from authz_sidecar.model.lexer import ExpressionError
from authz_sidecar.values.span import Span

ANY = "*"


def check_policy(policy: Policy, manifest: Manifest | None, form: Form, findings: Findings) -> None:
    """Check all definitions; what needs a manifest is left out without one. `form` is that of the bundle's
    `model.conf`."""
    _Checker(policy, manifest, form, findings).check()


class Vocabulary:
    """The object types and actions that a manifest declares, and those of the sidecar itself; everything is known
    without a manifest. `*` stands for what is declared: nothing of the sidecar's is to make a misspelt action right."""

    def __init__(self, manifest: Manifest | None, findings: Findings) -> None:
        self._declared = None if manifest is None else manifest.object_types
        self._findings = findings
        self._actions: dict[str, Sequence[str]] = {}
        self._all: set[str] = set()
        if self._declared is not None:
            declared = {name: kind.actions for name, kind in self._declared.items()}
            self._all.update(*declared.values())
            self._actions = {**OWN_TYPES, **declared}

    def check_type(self, name: str, span: Span) -> bool:
        """Report an object type that is not declared; whether it is."""
        if self._declared is None or name in self._actions:
            return True
        otherwise = f"the manifest declares {listed(self._declared, 'and')}"
        # `policy` is not `sidecar.policy` with something missing.
        meant = self._actions if OWN_PREFIX[-1] in name else self._declared
        self._findings.error(
            span, "unknown-object-type", f"unknown object type {quote(name)}", suggest(name, meant, otherwise)
        )
        return False

    def check_action(self, name: str, types: Sequence[str], span: Span) -> bool:
        """Report an action that one of the types (`*`: all of them together) does not declare."""
        if self._declared is None or name == ANY:
            return True
        for kind in types:
            if kind != ANY and kind not in self._actions:
                continue
            known: Collection[str] = self._all if kind == ANY else self._actions[kind]
            if name not in known:
                where = "any object type" if kind == ANY else quote(kind)
                self._findings.error(
                    span,
                    "unknown-action",
                    f"unknown action {quote(name)} of {where}",
                    suggest(name, known, f"its actions are {listed(sorted(known), 'and')}"),
                )
                return False
        return True

    def covers(self, types: Sequence[str], actions: Sequence[str]) -> bool:
        """Whether all types are declared (`*` is all of them together) and all actions by each of them."""
        if self._declared is None:
            return True
        for kind in types:
            if kind != ANY and kind not in self._actions:
                return False
            known: Collection[str] = self._all if kind == ANY else self._actions[kind]
            if not all(action == ANY or action in known for action in actions):
                return False
        return True

    def actions_of(self, types: Iterable[str]) -> list[str]:
        """Every action that any of the types declares."""
        return list(dict.fromkeys(action for kind in types for action in self._actions.get(kind, ())))


class _Holder(NamedTuple):
    """Who has a grant, for messages; where it holds; and what could have a grant that holds in the other place."""

    text: str
    place: Place
    elsewhere: str


def _holder_of(assignment: Assignment) -> _Holder:
    subject = quote(assignment.subject)
    if assignment.company:
        text = f"the assignment of {subject} in {quote(assignment.company)}"
        return _Holder(text, "company", "an assignment without `company`")
    return _Holder(f"the assignment of {subject} on the platform", "platform", "an assignment with a `company`")


class _Checker:
    """The checks of one bundle."""

    def __init__(self, policy: Policy, manifest: Manifest | None, form: Form, findings: Findings) -> None:
        self._policy = policy
        self._manifest = manifest
        self._form = form
        self._findings = findings
        self._vocabulary = Vocabulary(manifest, findings)

    def check(self) -> None:
        policy = self._policy
        self._check_sensitive_actions()
        for name, domain in policy.data_domains.items():
            for index, kind in enumerate(domain.objects):
                self._vocabulary.check_type(kind, domain.value_span("objects", index))
            known = self._vocabulary.actions_of(domain.objects)
            for index, action in enumerate(domain.actions):
                if self._manifest and action not in known:
                    self._findings.error(
                        domain.value_span("actions", index),
                        "unknown-action",
                        f"unknown action {quote(action)}: no object type of {quote(name)} declares it",
                        suggest(action, known, f"their actions are {listed(known, 'and')}"),
                    )
        for name, role in policy.roles.items():
            self._check_role(name, role)
        self._check_cycles()
        for flag in policy.flags.values():
            self._check_flag(flag)
        self._check_built_in_roles()
        for mapping in policy.group_mappings:
            self._check_roles_and_company(mapping)
            self._check_kinds(f"the group {quote(mapping.group)}", [mapping])
        for assignment in policy.assignments:
            self._check_roles_and_company(assignment)
            if assignment.grants:
                holder = _holder_of(assignment)
                for grant in assignment.grants:
                    self._check_grant(holder, grant)
        self._check_identities()

    def _known(self, section: str, noun: str, code: str, names: Mapping[str, object], name: str, span: Span) -> bool:
        """Report a name that no definition has; whether it can be looked up."""
        if name in names:
            return True
        refused = self._policy.refused.get(section, set())
        if self._policy.complete and name not in refused:
            otherwise = f"the bundle defines {listed(names, 'and')}" if names else f"the bundle defines no {noun}"
            self._findings.error(span, code, f"unknown {noun} {quote(name)}", suggest(name, names, otherwise))
        return False

    def _role(self, name: str, span: Span) -> Role | None:
        known = self._known("roles", "role", "unknown-role", self._policy.roles, name, span)
        return self._policy.roles[name] if known else None

    def _check_role(self, name: str, role: Role) -> None:
        if role.kind == "sole":
            for field in ("inherits", "data_domains", "grants"):
                if getattr(role, field):
                    self._findings.error(
                        role.key_span(field),
                        "role-sole",
                        f"the role {quote(name)} stands alone and has {quote(field)}",
                        f"remove {quote(field)}, or make the role `primary` or `additive`",
                    )
        for index, parent in enumerate(role.inherits):
            span = role.value_span("inherits", index)
            inherited = self._role(parent, span)
            if inherited is None:
                continue
            if inherited.assigned != role.assigned:
                self._findings.error(
                    span,
                    "role-inheritance",
                    f"the {role.assigned} role {quote(name)} inherits from the {inherited.assigned} role"
                    f" {quote(parent)}",
                    "a role inherits from roles that are assigned as it is",
                )
            if inherited.kind == "sole":
                self._findings.error(
                    span,
                    "role-inheritance",
                    f"the role {quote(name)} inherits from {quote(parent)}, which stands alone",
                    "remove it; a sole role grants nothing",
                )
        elsewhere = "platform" if role.assigned == "company" else "company"
        holder = _Holder(
            f"the {role.assigned} role {quote(name)}", role.assigned, f"a role that is `assigned: {elsewhere}`"
        )
        for grant in role.grants:
            self._check_grant(holder, grant)
        for use in role.data_domains:
            self._check_scope(holder, use)
        self._check_data_domains(role)

    def _check_data_domains(self, role: Role) -> None:
        for index, use in enumerate(role.data_domains):
            place = role.value_span("data_domains", index)
            names = self._policy.data_domains
            if not self._known("data_domains", "data domain", "unknown-data-domain", names, use.name, place):
                continue
            domain = names[use.name]
            actions = domain.actions or self._vocabulary.actions_of(domain.objects)
            for position, action in enumerate(use.actions):
                if self._manifest and action not in actions:
                    self._findings.error(
                        use.value_span("actions", position),
                        "unknown-action",
                        f"unknown action {quote(action)} of the data domain {quote(use.name)}",
                        suggest(action, actions, f"its actions are {listed(actions, 'and')}"),
                    )

    def _check_sensitive_actions(self) -> None:
        if self._manifest is None:
            return
        for name, kind in self._manifest.object_types.items():
            for index, action in enumerate(kind.sensitive_actions):
                if action not in kind.actions:
                    self._vocabulary.check_action(action, [name], kind.value_span("sensitive_actions", index))

    def _check_built_in_roles(self) -> None:
        if self._manifest is None:
            return
        for index, name in enumerate(self._manifest.built_in_roles):
            refused = self._policy.refused.get("roles", set())
            if name not in self._policy.roles and self._policy.complete and name not in refused:
                self._findings.error(
                    self._manifest.value_span("built_in_roles", index),
                    "role-missing",
                    f"the built-in role {quote(name)} is not defined",
                    "define it in a policy file; a built-in role cannot be removed",
                )

    def _check_grant(self, holder: _Holder, grant: Grant) -> None:
        types = grant.types
        # Places are looked up for what is wrong only: there may be very many grants.
        if not self._vocabulary.covers(types, grant.actions):
            for index, kind in enumerate(types):
                if kind != ANY:
                    self._vocabulary.check_type(kind, grant.type_span(index))
            for index, action in enumerate(grant.actions):
                self._vocabulary.check_action(action, types, grant.value_span("actions", index))
        self._check_scope(holder, grant)
        if grant.id.endswith(ANY) and grant.id != ANY:
            self._need_extended(f"the id pattern {quote(grant.id)}", grant.value_span("id"))
        if grant.when:
            self._need_extended("a condition (`when`)", grant.key_span("when"))
            self._check_condition(grant)

    def _check_scope(self, holder: _Holder, grant: Grant | DataDomainUse) -> None:
        if holder.place == "company" and grant.scope == "platform":
            self._findings.error(
                grant.value_span("scope"),
                "grant-scope",
                f"{holder.text} has a grant of platform scope",
                f"use `company` or `own`, or move the grant to {holder.elsewhere}",
            )
        if holder.place == "platform" and grant.scope == "company":
            # It would hold everywhere: there is no company that the object's could be compared with.
            self._findings.error(
                grant.value_span("scope"),
                "grant-scope",
                f"{holder.text} has a grant of company scope",
                f"use `platform` or `own`, or move the grant to {holder.elsewhere}",
            )

    def _need_extended(self, what: str, span: Span) -> None:
        if self._form == "basic":
            self._findings.error(
                span,
                "model-extended",
                f"{what} needs the extended form of the standard model",
                "write it with `authz-sidecar render --model extended > DIR/model.conf`",
            )

    def _check_condition(self, grant: Grant) -> None:
        condition = grant.when.strip()
        if "\n" in condition:
            self._findings.error(
                grant.value_span("when"),
                "expression-syntax",
                "the condition has several lines",
                "write it on one line, or after `when: >-`, which joins the lines",
            )
            return
        try:
            parse_expression(condition, standard_model("extended").sections[""].names)
        except ExpressionError as error:
            offset = error.offset + len(grant.when) - len(grant.when.lstrip())
            self._findings.error(grant.text_span("when", offset), error.code, error.message, error.help)

    def _check_cycles(self) -> None:
        """Report every circle of inheritance once, at its first role in name order."""
        roles = self._policy.roles
        done: set[str] = set()
        for start in sorted(roles):
            # A depth-first walk without recursion: a chain of roles may be longer than Python's stack.
            path: dict[str, None] = {}
            walk = [(start, iter(roles[start].inherits))]
            while walk:
                name, parents = walk[-1]
                path[name] = None
                for parent in parents:
                    if parent in path:
                        circle = list(path)
                        self._report_cycle([*circle[circle.index(parent) :], parent])
                    elif parent in roles and parent not in done:
                        walk.append((parent, iter(roles[parent].inherits)))
                        break
                else:
                    done.add(name)
                    walk.pop()
                    del path[name]

    def _report_cycle(self, circle: list[str]) -> None:
        last, first = circle[-2], circle[-1]
        role = self._policy.roles[last]
        self._findings.error(
            role.value_span("inherits", role.inherits.index(first)),
            "role-cycle",
            f"the role {quote(first)} inherits from itself: {' > '.join(circle)}",
            f"remove {quote(first)} from what {quote(last)} inherits",
        )

    def _check_flag(self, flag: Flag) -> None:
        for index, name in enumerate(flag.roles):
            self._role(name, flag.value_span("roles", index))
        if self._vocabulary.check_type(flag.object, flag.value_span("object")):
            for index, action in enumerate(flag.actions):
                self._vocabulary.check_action(action, [flag.object], flag.value_span("actions", index))

    def _check_roles_and_company(self, entry: Assignment | GroupMapping) -> None:
        """Company roles are held in a company, platform roles in none."""
        platform_role = ""
        for index, name in enumerate(entry.roles):
            span = entry.value_span("roles", index)
            role = self._role(name, span)
            if role is None:
                continue
            if role.assigned == "company" and not entry.company:
                self._findings.error(
                    span,
                    "assignment-company",
                    f"the company role {quote(name)} is assigned without a company",
                    "add `company:` with the company in which it is held",
                )
            elif role.assigned == "platform":
                platform_role = platform_role or name
        if entry.company and platform_role:
            self._findings.error(
                entry.value_span("company"),
                "assignment-company",
                f"the platform role {quote(platform_role)} is assigned in the company {quote(entry.company)}",
                f"remove `company:`; {quote(platform_role)} belongs to no company and holds everywhere",
            )

    def _check_identities(self) -> None:
        identities: dict[str, list[Assignment]] = {}
        for assignment in self._policy.assignments:
            identities.setdefault(assignment.subject, []).append(assignment)
        for subject, assignments in identities.items():
            self._check_repeats(subject, assignments)
            self._check_kinds(quote(subject), assignments)
            self._check_own_grants(subject, assignments)
            self._check_limits(subject, assignments)
            self._check_flags(subject, assignments)

    def _check_repeats(self, subject: str, assignments: list[Assignment]) -> None:
        seen: dict[tuple[str, str], Span] = {}
        for assignment in assignments:
            for index, role in enumerate(assignment.roles):
                span = assignment.value_span("roles", index)
                first = seen.setdefault((role, assignment.company), span)
                if first is not span:
                    where = f" in {quote(assignment.company)}" if assignment.company else ""
                    self._findings.error(
                        span,
                        "assignment-duplicate",
                        f"{quote(subject)} is assigned the role {quote(role)}{where} twice",
                        f"remove one of them; the first is at {first}",
                    )

    def _check_kinds(self, who: str, entries: Sequence[Assignment | GroupMapping]) -> None:
        """Check that the roles of `entries`, which are all held by `who`, go together."""
        held = [
            (name, self._policy.roles[name], entry, index)
            for entry in entries
            for index, name in enumerate(entry.roles)
            if name in self._policy.roles
        ]
        names = list(dict.fromkeys(name for name, *_ in held))
        for name, role, entry, index in held:
            if role.kind == "sole" and len(names) > 1:
                others = listed([other for other in names if other != name], "and")
                self._findings.error(
                    entry.value_span("roles", index),
                    "role-sole",
                    f"{who} has the role {quote(name)}, which stands alone, together with {others}",
                    f"remove {quote(name)}, or the other roles",
                )
        primary: dict[str, str] = {}
        for name, role, entry, index in held:
            if role.kind != "primary":
                continue
            # A platform role counts in every company; primary roles of two companies do not meet.
            first = primary.setdefault(entry.company, primary.get("", name))
            if first != name:
                self._findings.warning(
                    entry.value_span("roles", index),
                    "role-primary",
                    f"{who} has a second primary role, {quote(name)} beside {quote(first)}",
                    "give an identity one primary role; make one that adds to another `kind: additive`",
                )

    def _check_own_grants(self, subject: str, assignments: list[Assignment]) -> None:
        """A role that stands alone is not to be got round by grants beside it."""
        roles = self._policy.roles
        held = (name for entry in assignments for name in entry.roles)
        sole = next((name for name in held if name in roles and roles[name].kind == "sole"), "")
        for assignment in assignments:
            if sole and assignment.grants:
                self._findings.error(
                    assignment.key_span("grants"),
                    "role-sole",
                    f"{quote(subject)} has the role {quote(sole)}, which stands alone, together with `grants`",
                    f"remove {quote(sole)}, or `grants`",
                )

    def _check_limits(self, subject: str, assignments: list[Assignment]) -> None:
        if self._manifest is None:
            return
        limits = self._manifest.limits
        roles: set[tuple[str, str]] = set()
        companies: set[str] = set()
        over: set[str] = set()
        for assignment in assignments:
            roles.update((role, assignment.company) for role in assignment.roles)
            companies.update([assignment.company] if assignment.company else ())
            for field, span_field, limit, count in (
                ("roles_per_identity", "roles", limits.roles_per_identity, len(roles)),
                ("companies_per_identity", "company", limits.companies_per_identity, len(companies)),
            ):
                if limit is not None and count > limit and field not in over:
                    over.add(field)
                    what = "roles" if span_field == "roles" else "companies"
                    self._findings.error(
                        assignment.value_span(span_field),
                        "assignment-limit",
                        f"{quote(subject)} has more {what} than the limit of {limit:,}",
                        f"remove an assignment, or raise `limits.{field}` in the manifest",
                    )

    def _check_flags(self, subject: str, assignments: list[Assignment]) -> None:
        held = {role for assignment in assignments for role in assignment.roles}
        seen: dict[str, Span] = {}
        for assignment in assignments:
            for name in assignment.flags:
                span = assignment.value_span("flags", name)
                if not self._known("flags", "flag", "unknown-flag", self._policy.flags, name, span):
                    continue
                flag = self._policy.flags[name]
                # Beside an unknown role nobody can tell, and removing the flag would widen access.
                if held.isdisjoint(flag.roles) and held <= self._policy.roles.keys():
                    self._findings.error(
                        span,
                        "flag-role",
                        f"the flag {quote(name)} is set on {quote(subject)}, which has none of its roles",
                        f"remove it; the flag is for {listed(flag.roles)}",
                    )
                first = seen.setdefault(name, span)
                if first is not span:
                    self._findings.error(
                        span,
                        "assignment-duplicate",
                        f"the flag {quote(name)} is set on {quote(subject)} twice",
                        f"remove one of them; the first is at {first}",
                    )
