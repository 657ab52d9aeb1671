"""Reads `model.conf`: Casbin's format (casbin/config/config.py, casbin/model/model.py), strictly.

Casbin skips what it does not know and stops at a gap in the numbering without a word; here each such line is a
diagnostic with its place, and all of them are collected. The text is split into lines, lines into definitions
(a backslash continues one), definitions into the model.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from authz_sidecar.model.expression import Expr, Names
from authz_sidecar.model.grammar import parse_expression, suggest
from authz_sidecar.model.lexer import ExpressionError, quote
from authz_sidecar.model.model import Effect, Model, RoleDefinition, Section
from authz_sidecar.values.diagnostic import Diagnostic
from authz_sidecar.values.span import Span

__all__ = ["Effect", "Model", "RoleDefinition", "Section", "parse_model"]

MAX_NAMES = 64
LINK_PARAMETERS = 2

_LETTER_OF = {
    "request_definition": "r",
    "policy_definition": "p",
    "role_definition": "g",
    "policy_effect": "e",
    "matchers": "m",
}
_SECTION_OF = {letter: section for section, letter in _LETTER_OF.items()}
_REQUIRED = "rpem"
_KEY = re.compile(r"([a-z])([2-9]|[1-9][0-9]{1,2})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNS = re.compile(r"\w+|[^\w\s]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


class _Piece(NamedTuple):
    """A line's share of a definition: where it begins in the joined text, and in the file."""

    start: int
    line: int
    column: int


class _Definition(NamedTuple):
    """`key = value`, its lines joined. `value_at` is the value's offset in the joined text."""

    key: str
    value: str
    value_at: int
    pieces: tuple[_Piece, ...]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset into the value."""
        at = self.value_at + offset
        piece = next((piece for piece in reversed(self.pieces) if piece.start <= at), self.pieces[0])
        return piece.line, piece.column + at - piece.start


def parse_model(text: str, file: str = "model.conf") -> tuple[Model | None, list[Diagnostic]]:
    """The model that `text` defines and everything found wrong with it; None if any finding is an error.

    Never raises, whatever the text is. Spans name `file`.
    """
    reader = _Reader(text, file)
    model = reader.read()
    reader.diagnostics.sort(key=lambda diagnostic: diagnostic.sort_key)
    return model, reader.diagnostics


class _Reader:
    """One reading of one file. Definitions are gathered first, then checked, each error once."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.diagnostics: list[Diagnostic] = []
        self.headers: dict[str, tuple[int, int]] = {}
        self.definitions: dict[str, _Definition] = {}

    def read(self) -> Model | None:
        self.check_characters()
        self.read_lines()
        self.check_presence()
        names = {key: self.read_names(key) for key in self.definitions if key[0] in "rp"}
        roles = {key: role for key in self.definitions if key[0] == "g" and (role := self.read_role(key))}
        effects = {key: effect for key in self.definitions if key[0] == "e" and (effect := self.read_effect(key))}
        sections: dict[str, Section] = {}
        for key in sorted((key for key in self.definitions if key[0] == "m"), key=_number):
            section = self.read_section(key[1:], names, roles, effects)
            if section is not None:
                sections[section.suffix] = section
        if self.diagnostics:
            return None
        return Model(sections, {key: roles[key] for key in sorted(roles, key=_number)}, self.text)

    def report(self, code: str, place: tuple[int, int], message: str, help: str) -> None:
        self.diagnostics.append(Diagnostic(Span(self.file, *place), code, message, help))

    # Lines

    def check_characters(self) -> None:
        """One finding a line for characters that no editor shows."""
        for number, line in enumerate(self.text.split("\n"), 1):
            found = _CONTROL.search(line.removesuffix("\r"))
            if found is None:
                continue
            place = (number, found.start() + 1)
            code = ord(found[0])
            if code == 0xFEFF and place == (1, 1):
                self.report("model-syntax", place, "the file begins with a byte-order mark", "save it as plain UTF-8")
            else:
                name = unicodedata.name(found[0], "a control character").lower()
                self.report("model-syntax", place, f"the line holds U+{code:04X} ({name})", "remove the character")

    def read_lines(self) -> None:
        section: str | None = None
        for header, definition, place in self.split_lines():
            if header:
                section = self.read_header(header, place)
            elif definition is not None:
                self.add(section, definition)

    def split_lines(self) -> Iterator[tuple[str, _Definition | None, tuple[int, int]]]:
        """Headers (`[name]`) and definitions in order, each with its place."""
        parts: list[str] = []
        pieces: list[_Piece] = []
        length = 0
        for number, raw in enumerate((*self.text.split("\n"), ""), 1):
            line = raw.strip(" \t\r\ufeff")
            column = raw.find(line) + 1
            is_header = line[:1] == "[" and line[-1:] == "]"
            if not line or line[0] in "#;" or is_header:
                if parts:
                    self.report_broken_line("".join(parts), tuple(pieces))
                    parts, pieces, length = [], [], 0
                if is_header:
                    yield line, None, (number, column)
                continue
            pieces.append(_Piece(length, number, column))
            if line[-1] == "\\":
                line = line[:-1].strip() + " "
                parts.append(line)
                length += len(line)
                continue
            parts.append(line)
            definition = self.split_definition("".join(parts), tuple(pieces))
            if definition is not None:
                yield "", definition, (pieces[0].line, pieces[0].column)
            parts, pieces, length = [], [], 0

    def report_broken_line(self, text: str, pieces: tuple[_Piece, ...]) -> None:
        """A definition that is announced to go on and does not."""
        self.report(
            "model-syntax",
            (pieces[-1].line, pieces[-1].column),
            "a line ends in `\\` and no definition goes on after it",
            "remove the backslash, or the comment or blank line between",
        )
        key = text.partition("=")[0].strip()
        if _KEY.fullmatch(key):
            # Kept without a value: what it would have defined is not missing as well.
            self.definitions.setdefault(key, _Definition(key, "", 0, pieces))

    def split_definition(self, text: str, pieces: tuple[_Piece, ...]) -> _Definition | None:
        key, equals, value = text.partition("=")
        place = (pieces[0].line, pieces[0].column)
        if not equals:
            self.report(
                "model-syntax",
                place,
                f"{quote(text)} is neither a section, a definition nor a comment",
                "write `key = value`, `[section]`, or `#` before a comment",
            )
            return None
        value_at = len(key) + 1 + len(value) - len(value.lstrip())
        return _Definition(key.strip(), value.strip(), value_at, pieces)

    def read_header(self, header: str, place: tuple[int, int]) -> str | None:
        name = header[1:-1]
        if name not in _LETTER_OF:
            help = suggest(name.strip(), _LETTER_OF)
            help = help or f"the sections are {', '.join(f'`[{known}]`' for known in _LETTER_OF)}"
            self.report("model-section", place, f"unknown section {quote(header)}", help)
            return None
        if name in self.headers:
            line = self.headers[name][0]
            self.report(
                "model-section", place, f"the section `[{name}]` is given twice", f"merge it with that of line {line}"
            )
        self.headers.setdefault(name, place)
        return name

    def add(self, section: str | None, definition: _Definition) -> None:
        """Keep a definition if its key belongs to the section it stands in."""
        place = (definition.pieces[0].line, definition.pieces[0].column)
        key = definition.key
        match = _KEY.fullmatch(key)
        letter = match[1] if match else ""
        if section is None:
            # What stands under an unknown header has been reported with the header.
            if not self.headers and not any(found.code == "model-section" for found in self.diagnostics):
                self.report(
                    "model-section",
                    place,
                    f"the definition {quote(key)} stands before the first section",
                    f"put it under {quote('[' + _SECTION_OF.get(letter, 'request_definition') + ']')}",
                )
            return
        wanted = _LETTER_OF[section]
        if letter != wanted:
            if letter in _SECTION_OF:
                help = f"it belongs in {quote('[' + _SECTION_OF[letter] + ']')}"
            else:
                help = f"definitions of `[{section}]` are `{wanted}`, `{wanted}2`, `{wanted}3` and so on"
            self.report("model-definition", place, f"`[{section}]` takes no definition {quote(key)}", help)
        elif key in self.definitions:
            line = self.definitions[key].pieces[0].line
            self.report(
                "model-definition", place, f"{quote(key)} is defined twice", f"remove this one or that of line {line}"
            )
        elif not definition.value:
            self.definitions[key] = definition
            self.report("model-definition", place, f"{quote(key)} is empty", "write its value after `=`")
        else:
            self.definitions[key] = definition

    # What must be there

    def check_presence(self) -> None:
        for letter in _REQUIRED:
            section = _SECTION_OF[letter]
            if section not in self.headers:
                self.report(
                    "model-section",
                    (0, 0),
                    f"the section `[{section}]` is missing",
                    f"add `[{section}]` with a definition `{letter} = …`",
                )
            elif letter not in self.definitions:
                self.report(
                    "model-definition",
                    self.headers[section],
                    f"`[{section}]` does not define `{letter}`",
                    f"add `{letter} = …`; numbered definitions come beside it",
                )
        if "role_definition" in self.headers and not any(key[0] == "g" for key in self.definitions):
            self.report(
                "model-definition",
                self.headers["role_definition"],
                "`[role_definition]` does not define `g`",
                "add `g = _, _`, or remove the section",
            )
        suffixes = sorted({key[1:] for key in self.definitions if key[1:]}, key=int)
        for suffix in suffixes:
            before = "" if suffix == "2" else str(int(suffix) - 1)
            for letter in "rpgem":
                if letter + suffix in self.definitions:
                    self.check_numbering(letter, suffix, before)
            given = [letter for letter in "rpm" if letter + suffix in self.definitions]
            missing = [f"`{letter}{suffix}`" for letter in "rpm" if letter not in given]
            if missing and (given or "e" + suffix in self.definitions):
                first = next(key for key in (f"{letter}{suffix}" for letter in "rpme") if key in self.definitions)
                self.report(
                    "model-definition",
                    self.definitions[first].place(-self.definitions[first].value_at),
                    f"`{first}` is defined and {' and '.join(missing)} is not",
                    f"a numbered set needs `r{suffix}`, `p{suffix}` and `m{suffix}`; only `e{suffix}` may be left out",
                )

    def check_numbering(self, letter: str, suffix: str, before: str) -> None:
        if letter + before in self.definitions or (not before and letter in _REQUIRED):
            return  # a missing first definition has been reported already
        definition = self.definitions[letter + suffix]
        self.report(
            "model-definition",
            definition.place(-definition.value_at),
            f"`{letter}{suffix}` is defined and `{letter}{before}` is not",
            f"Casbin reads definitions up to the first gap: add `{letter}{before}` or renumber",
        )

    # Values

    def read_names(self, key: str) -> tuple[str, ...] | None:
        """The tokens of a request or the fields of a rule."""
        definition = self.definitions[key]
        if not definition.value or self.has_comment(definition):
            return None
        names: list[str] = []
        offset = 0
        good = True
        for item in definition.value.split(","):
            name = item.strip()
            place = definition.place(offset + (item.find(name) if name else 0))
            offset += len(item) + 1
            if not _NAME.fullmatch(name):
                help = "names are ASCII letters, digits and `_`, begin with no digit and are separated by `,`"
                what = "an empty name" if not name else f"{quote(name)}, which is not a name"
                self.report("model-definition", place, f"`{key}` holds {what}", help)
                good = False
            elif name in names:
                self.report("model-definition", place, f"`{key}` names {quote(name)} twice", "rename one of them")
                good = False
            else:
                names.append(name)
        if len(names) > MAX_NAMES:
            self.report(
                "model-definition",
                definition.place(0),
                f"`{key}` has {len(names)} names; at most {MAX_NAMES} are taken",
                "put what differs by request into attributes or the context",
            )
            good = False
        return tuple(names) if good else None

    def has_comment(self, definition: _Definition) -> bool:
        """Report a `#` in a definition whose value Casbin would take it into."""
        at = definition.value.find("#")
        if at < 0:
            return False
        self.report(
            "model-definition",
            definition.place(at),
            f"a comment stands inside the definition of `{definition.key}`",
            "put it on a line of its own; Casbin would read it as part of the value",
        )
        return True

    def read_role(self, key: str) -> RoleDefinition | None:
        definition = self.definitions[key]
        if not definition.value or self.has_comment(definition):
            return None
        shape = "".join(definition.value.split())
        match = re.fullmatch(r"_,_(,_)?(?:,\((_(?:,_){0,9})\))?", shape)
        if match is None:
            self.report(
                "model-definition",
                definition.place(0),
                f"`{key}` is {quote(definition.value)}, which is no role definition",
                "write `_, _`, with a domain `_, _, _`, with link conditions `_, _, (_, _)` or `_, _, _, (_, _)`",
            )
            return None
        parameters = match[2].count("_") if match[2] else 0
        if parameters not in {0, LINK_PARAMETERS}:
            self.report(
                "model-definition",
                definition.place(0),
                f"the links of `{key}` have {parameters} parameters",
                "link conditions take two, a start and an end: `(_, _)`",
            )
            return None
        return RoleDefinition(key, match[1] is not None, parameters, Span(self.file, *definition.place(0)))

    def read_effect(self, key: str) -> Effect | None:
        definition = self.definitions[key]
        value = self.without_comment(definition)
        if not value:
            return None
        # `p_eft` is how Casbin's own constants spell `p.eft`; `e2` may say `p2.eft`.
        ptype = "p" + key[1:]
        signs = _SIGNS.findall(re.sub(rf"\b(?:p|{ptype})[._]eft\b", "p.eft", value))
        for effect in Effect:
            if signs == _SIGNS.findall(effect.value):
                return effect
        self.report(
            "model-effect",
            definition.place(0),
            f"unknown effect {quote(value, 80)}",
            f"write one of: {'; '.join(f'`{effect.value}`' for effect in Effect)}",
        )
        return None

    def without_comment(self, definition: _Definition) -> str:
        """A matcher or effect up to its comment: `#` outside quotes, on the definition's last line."""
        value = definition.value
        at = _QUOTED.sub(lambda match: "_" * len(match[0]), value).find("#")
        if at < 0:
            return value
        place = definition.place(at)
        if place[0] != definition.pieces[-1].line:
            self.report(
                "model-definition",
                place,
                f"a comment stands inside the definition of `{definition.key}`, which goes on after it",
                "put it on a line of its own before the definition; Casbin would drop all that follows",
            )
            return ""
        if not value[:at].strip():
            self.report("model-definition", place, f"`{definition.key}` is empty", "write its value before the comment")
        return value[:at].rstrip()

    def read_section(
        self,
        suffix: str,
        names: dict[str, tuple[str, ...] | None],
        roles: dict[str, RoleDefinition],
        effects: dict[str, Effect],
    ) -> Section | None:
        definition = self.definitions["m" + suffix]
        text = self.without_comment(definition)
        tokens, fields = names.get("r" + suffix), names.get("p" + suffix)
        effect = effects.get("e" + suffix) if "e" + suffix in self.definitions else effects.get("e")
        if effect is Effect.SUBJECT_PRIORITY and "g" not in self.definitions:
            key = "e" + suffix if "e" + suffix in self.definitions else "e"
            self.report(
                "model-effect",
                self.definitions[key].place(0),
                "the effect `subjectPriority` has no roles to order by",
                "add `[role_definition]` with `g = _, _`, or use `priority(p.eft) || deny`",
            )
            effect = None
        if not text or tokens is None or fields is None:
            return None
        # A matcher that calls a broken role definition would be reported for a fault that is not its own.
        if any(key[0] == "g" and key not in roles for key in self.definitions):
            return None
        arguments = {key: role.arguments for key, role in roles.items()}
        matcher = self.read_matcher(definition, text, Names(suffix, tokens, fields, arguments, allow_eval=True))
        if matcher is None or effect is None:
            return None
        span = Span(self.file, *definition.place(0))
        return Section(suffix, tokens, fields, effect, matcher, text, span, arguments)

    def read_matcher(self, definition: _Definition, text: str, names: Names) -> Expr | None:
        try:
            return parse_expression(text, names)
        except ExpressionError as error:
            self.report(error.code, definition.place(error.offset), error.message, error.help)
            return None


def _number(key: str) -> int:
    """The order of definitions: `m`, `m2`, … `m10`."""
    return int(key[1:] or 1)
