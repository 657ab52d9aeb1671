"""Wider values: roles that everybody holds who holds a role, patterns that take in a pattern."""

from collections.abc import Callable, Iterable, Sequence

from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.decide.roles import held_roles
from authz_sidecar.model.patterns import Kind, compile_pattern

# Where more values than this are wider than one, nothing is said.
MAX_WIDER = 64


class PatternForms:
    """The form of each pattern: its kind and the text that every match begins with. A pattern is compiled once."""

    def __init__(self) -> None:
        self._forms: dict[tuple[str, str], tuple[Kind, str]] = {}

    def form(self, function: str, text: str) -> tuple[Kind, str]:
        """Kind and literal of a pattern that the compiler took."""
        form = self._forms.get((function, text))
        if form is None:
            pattern = compile_pattern(function, text)
            form = self._forms[function, text] = (pattern.kind, pattern.literal)
        return form


class WiderPatterns:
    """The patterns of one field, found by what they take in."""

    def __init__(self, function: str, texts: Iterable[str], forms: PatternForms) -> None:
        self._function = function
        self._forms = forms
        self._by_literal: dict[str, list[str]] = {}
        for text in dict.fromkeys(texts):
            self._by_literal.setdefault(forms.form(function, text)[1], []).append(text)
        self._lengths = sorted({len(literal) for literal in self._by_literal})
        self._found: dict[str, tuple[str, ...]] = {}

    def wider(self, text: str) -> tuple[str, ...]:
        """The other patterns that match whatever `text` matches, those with the shortest beginning first."""
        found = self._found.get(text)
        if found is None:
            found = self._found[text] = self._search(text)
        return found

    def _search(self, text: str) -> tuple[str, ...]:
        kind, literal = self._forms.form(self._function, text)
        found: list[str] = []
        tried = 0
        for length in self._lengths:
            if length > len(literal):
                break
            for other in self._by_literal.get(literal[:length], ()):
                tried += 1
                if tried > MAX_WIDER:
                    return ()
                if other != text and self._takes_in(other, kind, literal):
                    found.append(other)
        return tuple(found)

    def _takes_in(self, other: str, kind: Kind, literal: str) -> bool:
        """Whether `other`, whose literal begins `literal`, matches all that a pattern of this form matches."""
        other_kind, _ = self._forms.form(self._function, other)
        if other_kind == "prefix":
            return True
        return kind == "exact" and compile_pattern(self._function, other).test(literal)


class WiderRoles:
    """The roles that go with roles, in the graphs of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._graphs = snapshot.graphs
        self._held: dict[tuple[str, str, str], frozenset[str]] = {}

    def wider(self, role: str, places: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
        """The other roles that everybody holds who holds `role`, by each definition in its domain (None: unknown)."""
        found: frozenset[str] | None = None
        for definition, domain in places:
            graph = self._graphs[definition]
            if domain is None or graph.conditional:
                return ()
            key = (definition, role, domain)
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = held_roles(graph, role, domain, 0.0)
            found = held if found is None else found & held
        if found is None or len(found) > MAX_WIDER:
            return ()
        return tuple(sorted(found - {role}))

    def leads_on(self, definitions: Iterable[str]) -> Callable[[str], bool]:
        """Tells quickly of most names that they hold no role by some definition; of the others, that they may."""
        plain = [
            graph.subjects
            for graph in map(self._graphs.__getitem__, definitions)
            if graph.names is None and not graph.members
        ]
        return lambda name: all(name in subjects for subjects in plain)
