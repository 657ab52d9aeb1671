"""Edits of a policy in the words of its owners: grant, revoke, cover a data domain, assign.

Each takes the files of a bundle and gives those that change, whole. What is not edited stays as it was written. An edit
that cannot be made in place, such as taking one action out of a wildcard, is refused with what to do instead; and so is
one that would not do what it says, such as taking away what another role gives as well.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.bundle.definitions import Assignment, DataDomainUse, Grant, Role
from authz_sidecar.bundle.wording import closest, listed, quote
from authz_sidecar.bundle.yaml_edit import Path, TextEdit, YamlEditError, YamlText, apply_edits
from authz_sidecar.values.request import value_problem

Files: TypeAlias = Mapping[str, bytes]
Changed: TypeAlias = dict[str, bytes]
ANY = "*"


class PolicyEditError(Exception):
    """An edit that cannot be made: `message` and what to do instead, `help`."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class PolicyEditor:
    """Edits one bundle in YAML, whose `files` were read as `bundle`."""

    def __init__(self, bundle: Bundle, files: Files) -> None:
        if bundle.form != "yaml":
            raise PolicyEditError(
                "a plain Casbin bundle has no definitions to edit", "edit its rows, and see `authz-sidecar diff`"
            )
        self._bundle = bundle
        self._files = files
        self._texts: dict[str, YamlText] = {}
        self._edits: dict[str, list[TextEdit]] = {}
        # Taken out together: what is left empty goes too.
        self._gone: dict[str, dict[Path, None]] = {}

    # what can be done

    def grant(self, role: str, action: str, kind: str, *, scope: str | None = None, deny: bool = False) -> Changed:
        """Give a role an action on a type of object, or with `deny` refuse it; no file changes if one of its grants
        says so already."""
        definition = self._role(role)
        self._require_action(kind, action)
        wanted = scope or definition.assigned
        alike = [
            (number, grant)
            for number, grant in enumerate(definition.grants)
            if self._plain(grant)
            and (grant.scope or definition.assigned) == wanted
            and (grant.effect == "deny") is deny
        ]
        if any({kind, ANY} & set(grant.types) and {action, ANY} & set(grant.actions) for _, grant in alike):
            return {}
        for number, grant in alike:
            if grant.types == [kind]:
                self._append(definition.span.file, ("roles", role, "grants", number, "actions"), action)
                return self._done()
        value: dict[str, Any] = {"object": kind, "actions": [action]}
        if wanted != definition.assigned:
            value["scope"] = wanted
        if deny:
            value["effect"] = "deny"
        self._add_item(definition.span.file, ("roles", role), "grants", value)
        return self._done()

    def revoke(self, role: str, action: str, kind: str) -> Changed:
        """Take an action on a type of object from a role, whatever its scope. Raises PolicyEditError where the role has
        it from a wildcard, a data domain or another role, also beside a grant of its own, or not at all."""
        definition = self._role(role)
        self._require_action(kind, action)
        found = False
        for number, grant in enumerate(definition.grants):
            if not self._allows(grant, action, kind):
                continue
            if not self._plain(grant):
                raise PolicyEditError(
                    f"the grant at {grant.span} gives it for single ids or under a condition",
                    "edit that grant itself",
                )
            if kind not in grant.types or action not in grant.actions:
                raise PolicyEditError(
                    f"{quote(role)} has it from a wildcard, at {grant.span}",
                    "name what the role may do instead of the wildcard, or refuse it with `role grant --deny`",
                )
            found = True
            self._narrow(definition, role, number, grant, action, kind)
        problem = self._elsewhere(definition, role, action, kind)
        if problem is not None:
            raise PolicyEditError(*problem)
        if not found:
            raise PolicyEditError(
                f"{quote(role)} does not have {quote(action)} of {quote(kind)}",
                "see `authz-sidecar matrix --view actions`",
            )
        return self._done()

    def toggle(self, role: str, domain: str) -> tuple[Changed, bool]:
        """Give a role a data domain if it has it not, else take it away; tells which: True if it has it now."""
        definition = self._role(role)
        self._require(domain, self._bundle.data_domains, "data domain")
        names = [use.name for use in definition.data_domains]
        if domain in names:
            for number, name in enumerate(names):
                if name == domain:
                    self._remove(definition.span.file, ("roles", role, "data_domains", number))
            return self._done(), False
        path: Path = ("roles", role, "data_domains")
        file = definition.span.file
        if self._has(file, path):
            self._append(file, path, domain)
        else:
            self._set(file, ("roles", role), "data_domains", [domain], block=False)
        return self._done(), True

    def assign(self, subject: str, role: str, company: str = "") -> Changed:
        """Give an identity a role, on the platform or in a company; nothing changes if it holds it already."""
        definition = self._role(role)
        self._require_value(subject, "the subject")
        self._require_place(role, definition, company)
        first: Assignment | None = None
        for entry in self._bundle.assignments:
            if entry.subject == subject and entry.company == company:
                if role in entry.roles:
                    return {}
                first = first or (entry if entry.roles else None)
        if first is not None:
            file = first.span.file
            self._append(file, (*self._assignment_path(first), "roles"), role)
            return self._done()
        value: dict[str, Any] = {"subject": subject, "roles": [role]}
        if company:
            value["company"] = company
        file = self._file_of_assignments(definition)
        self._add_item(file, (), "assignments", value)
        return self._done()

    def unassign(self, subject: str, role: str, company: str = "") -> Changed:
        """Take a role from an identity, on the platform or in a company."""
        self._role(role)
        for entry in self._bundle.assignments:
            if entry.subject != subject or entry.company != company or role not in entry.roles:
                continue
            path = self._assignment_path(entry)
            if entry.roles == [role] and not entry.grants:
                self._remove(entry.span.file, path)
            self._remove(entry.span.file, (*path, "roles", entry.roles.index(role)))
            self._remove_flags(entry, role)
            return self._done()
        where = f"in {quote(company)}" if company else "on the platform"
        held = sorted(
            {
                f"{quote(name)} {f'in {quote(entry.company)}' if entry.company else 'on the platform'}"
                for entry in self._bundle.assignments
                if entry.subject == subject
                for name in entry.roles
            }
        )
        raise PolicyEditError(
            f"no assignment gives {quote(subject)} the role {quote(role)} {where}",
            f"it holds {', '.join(held)}" if held else "the bundle assigns it nothing",
        )

    # how

    def _narrow(self, definition: Role, role: str, number: int, grant: Grant, action: str, kind: str) -> None:
        """Take an action on one type out of a grant; what it says of other types stays, as a grant of its own."""
        file = definition.span.file
        path: Path = ("roles", role, "grants", number)
        others = [name for name in dict.fromkeys(grant.actions) if name != action]
        if set(grant.types) == {kind}:
            if not others:
                self._remove(file, path)
            for at in self._numbers(grant.actions, action) if others else ():
                self._remove(file, (*path, "actions", at))
            return
        for at in self._numbers(grant.objects, kind):
            self._remove(file, (*path, "objects", at))
        if others:
            value: dict[str, Any] = {"object": kind, "actions": others}
            if grant.scope is not None:
                value["scope"] = grant.scope
            self._append(file, ("roles", role, "grants"), value)

    @staticmethod
    def _numbers(names: list[str], name: str) -> Iterator[int]:
        return (number for number, one in enumerate(names) if one == name)

    def _remove_flags(self, taken: Assignment, role: str) -> None:
        """Take out the flags of an identity that are for none of its roles once the assignment `taken` does not give
        it `role`. Raises PolicyEditError where a flag that still counts would go with the assignment."""
        entries = [entry for entry in self._bundle.assignments if entry.subject == taken.subject]
        roles = {name for entry in entries for name in entry.roles if entry is not taken or name != role}
        for entry in entries:
            goes = entry is taken and entry.roles == [role] and not entry.grants
            for name in entry.flags:
                if roles.isdisjoint(self._bundle.flags[name].roles):
                    self._remove(entry.span.file, (*self._assignment_path(entry), "flags", name))
                elif goes:
                    raise PolicyEditError(
                        f"the assignment at {entry.span} sets the flag {quote(name)}, which counts for other roles of "
                        f"{quote(entry.subject)} too",
                        "move the flag to another assignment of the identity first",
                    )

    def _elsewhere(self, definition: Role, role: str, action: str, kind: str) -> tuple[str, str] | None:
        """Where a role has access from beside its own grants, and what to do about it; None where from nothing."""
        for use in definition.data_domains:
            if self._covers(use, action, kind):
                return (
                    f"{quote(role)} has it from the data domain {quote(use.name)}",
                    f"narrow the data domain's `actions` in the role, or `role toggle {role} {use.name}`",
                )
        for parent in definition.inherits:
            if self._gives(self._bundle.roles[parent], action, kind):
                return (
                    f"{quote(role)} inherits it from {quote(parent)}",
                    f"revoke it from {quote(parent)}, or refuse it with `role grant --deny {role} {action} {kind}`",
                )
        return None

    def _gives(self, role: Role, action: str, kind: str) -> bool:
        return (
            any(self._allows(grant, action, kind) for grant in role.grants)
            or any(self._covers(use, action, kind) for use in role.data_domains)
            or any(self._gives(self._bundle.roles[parent], action, kind) for parent in role.inherits)
        )

    @staticmethod
    def _allows(grant: Grant, action: str, kind: str) -> bool:
        return bool(grant.effect != "deny" and {kind, ANY} & set(grant.types) and {action, ANY} & set(grant.actions))

    def _covers(self, use: DataDomainUse, action: str, kind: str) -> bool:
        domain = self._bundle.data_domains[use.name]
        return kind in domain.objects and action in (use.actions or domain.actions or [action])

    @staticmethod
    def _plain(grant: Grant) -> bool:
        return grant.id == ANY and not grant.when

    def _role(self, name: str) -> Role:
        self._require(name, self._bundle.roles, "role")
        return self._bundle.roles[name]

    def _require(self, name: str, known: Mapping[str, object], noun: str) -> None:
        if name not in known:
            guess = closest(name, list(known))
            remedy = f"did you mean {quote(guess)}?" if guess else f"there are {listed(sorted(known), 'and') or 'none'}"
            raise PolicyEditError(f"the bundle has no {noun} {quote(name)}", remedy)

    def _require_action(self, kind: str, action: str) -> None:
        types = self._bundle.manifest.known_types
        if kind == ANY:
            return
        self._require(kind, types, "object type")
        if action != ANY:
            self._require(action, dict.fromkeys(types[kind].actions), f"action of {quote(kind)} called")

    @staticmethod
    def _require_value(value: str, what: str) -> None:
        problem = value_problem(value) or ("" if value else "is empty")
        if problem:
            raise PolicyEditError(f"{what} {problem}", "give it as requests spell it")

    def _require_place(self, role: str, definition: Role, company: str) -> None:
        if company:
            self._require_value(company, "the company")
        if (definition.assigned == "company") is not bool(company):
            in_company = definition.assigned == "company"
            raise PolicyEditError(
                f"{quote(role)} is assigned {'in a company' if in_company else 'on the platform'}",
                "name the company with `--company`" if in_company else "leave `--company` away",
            )

    def _assignment_path(self, entry: Assignment) -> Path:
        """Where an assignment stands in its file."""
        number = -1
        for other in self._bundle.assignments:
            number += other.span.file == entry.span.file
            if other is entry:
                break
        return ("assignments", number)

    def _file_of_assignments(self, role: Role) -> str:
        """The file for one more assignment: where the last one of the same place stands, else of any, else the role."""
        same = [entry for entry in self._bundle.assignments if entry.place == role.assigned]
        entries = same or list(self._bundle.assignments)
        return entries[-1].span.file if entries else role.span.file

    # text

    def _text(self, file: str) -> YamlText:
        if file not in self._texts:
            self._texts[file] = YamlText(self._files[file].decode("utf-8"))
        return self._texts[file]

    def _has(self, file: str, path: Path) -> bool:
        return self._text(file).has(path)

    def _append(self, file: str, path: Path, value: Any) -> None:
        with self._editing(file) as (text, edits):
            edits.append(text.append(path, value))

    def _set(self, file: str, path: Path, key: str, value: Any, *, block: bool) -> None:
        with self._editing(file) as (text, edits):
            edits.append(text.set(path, key, value, block=block))

    def _add_item(self, file: str, path: Path, key: str, value: Any) -> None:
        """Add an item to a list that may not be there yet."""
        if self._has(file, (*path, key)):
            self._append(file, (*path, key), value)
        else:
            self._set(file, path, key, [value], block=True)

    def _remove(self, file: str, path: Path) -> None:
        self._gone.setdefault(file, {})[path] = None

    @contextmanager
    def _editing(self, file: str) -> Iterator[tuple[YamlText, list[TextEdit]]]:
        try:
            yield self._text(file), self._edits.setdefault(file, [])
        except YamlEditError as error:
            raise PolicyEditError(f"{quote(file)} cannot be edited in place: {error}", "edit it by hand") from error

    def _done(self) -> Changed:
        for file, paths in self._gone.items():
            with self._editing(file) as (text, edits):
                edits.extend(text.remove(*paths))
        changed: Changed = {}
        for file, edits in self._edits.items():
            before = self._text(file).text
            try:
                edited = apply_edits(before, edits)
            except ValueError as error:
                raise PolicyEditError(f"{quote(file)} cannot be edited in place: {error}", "edit it by hand") from error
            if edited != before:
                changed[file] = edited.encode("utf-8")
        return changed
