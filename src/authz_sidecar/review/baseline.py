"""A baseline: the findings that a bundle had when lint was adopted, so that only new ones are told.

A finding is known by its code, its file, what it says and the text that it stands in: its line and the lines above that
it belongs to by indentation (its grant, role and section). Where it moves to is nothing, so the same finding is known
again when lines are added above; line numbers in what it says are left out for that. Of findings that are alike the
baseline takes as many as it counted.

Stored format, JSON: `{"version": 1, "findings": [{"code", "file", "message", "context", "count"}, …]}`, sorted;
`context` is the beginning of a SHA-256. Fields may be added; a change of meaning needs a new number.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from authz_sidecar.values import Diagnostic, Span

VERSION = 1
_PLACE = re.compile(r"(\.(?:yaml|csv|conf)):\d+(?::\d+)?")
_DIGEST_LENGTH = 16


class Key(NamedTuple):
    """What a finding is known by."""

    code: str
    file: str
    message: str
    context: str


class BaselineError(Exception):
    """A text is no baseline. The message says why, `help` what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.help = "write it anew with `authz-sidecar lint --write-baseline`"


class Contexts:
    """The text around findings of the bundle whose files are `files`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._lines: dict[str, list[str]] = {}
        self._above: dict[str, list[int]] = {}

    def key(self, finding: Diagnostic) -> Key:
        """What the finding is known by."""
        message = _PLACE.sub(r"\1", finding.message)
        return Key(finding.code, finding.span.file, message, _digest(self._around(finding.span)))

    def fingerprints(self, findings: Iterable[Diagnostic]) -> Iterator[str]:
        """For each finding a text that stays its own when lines move; findings that are alike are numbered."""
        seen: Counter[Key] = Counter()
        for finding in findings:
            key = self.key(finding)
            seen[key] += 1
            yield _digest((*key, str(seen[key])), 2 * _DIGEST_LENGTH)

    def _around(self, span: Span) -> Iterator[str]:
        if span.file not in self._lines:
            text = self._files.get(span.file, b"").decode("utf-8", "replace")
            lines = self._lines[span.file] = text.split("\n")
            self._above[span.file] = list(_owners(lines)) if span.file.endswith(".yaml") else []
        lines, above = self._lines[span.file], self._above[span.file]
        at = span.line - 1
        while 0 <= at < len(lines):
            yield lines[at].strip()
            at = above[at] if above else -1


def _owners(lines: list[str]) -> Iterator[int]:
    """For each line of YAML the one that it belongs to, -1 for none: the last before it that is indented less."""
    open_lines: list[tuple[int, int]] = []
    for number, line in enumerate(lines):
        text = line.lstrip(" ")
        if text.strip() and text[0] != "#":
            # The items of a list may stand as far left as the key that they belong to.
            depth = 2 * (len(line) - len(text)) + text.startswith("- ")
            while open_lines and open_lines[-1][0] >= depth:
                open_lines.pop()
            owner = open_lines[-1][1] if open_lines else -1
            open_lines.append((depth, number))
        else:
            owner = -1
        yield owner


def _digest(parts: Iterable[str], length: int = _DIGEST_LENGTH) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:length]


class Baseline:
    """Findings to be silenced, each as many times as it was counted."""

    def __init__(self, counts: Mapping[Key, int] | None = None) -> None:
        self._left = Counter(counts or {})

    def takes(self, key: Key) -> bool:
        """Whether the finding is silenced; the next one like it counts on."""
        if self._left[key] < 1:
            return False
        self._left[key] -= 1
        return True

    def unmatched(self, ran: Callable[[str], bool]) -> int:
        """How many of its findings were not found again, among the rules that ran."""
        return sum(count for key, count in self._left.items() if ran(key.code))


class NewBaseline(Baseline):
    """A baseline in the making: it takes every finding and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Key] = Counter()

    def takes(self, key: Key) -> bool:
        """Count the finding."""
        self.counts[key] += 1
        return True

    def text(self) -> str:
        """The file to write."""
        findings = [{**key._asdict(), "count": self.counts[key]} for key in sorted(self.counts)]
        return json.dumps({"version": VERSION, "findings": findings}, indent=2, ensure_ascii=False) + "\n"


class _Entry(msgspec.Struct):
    code: str
    file: str
    message: str
    context: str
    count: int


def read_baseline(text: str | bytes) -> Baseline:
    """The baseline of a file; an empty one has no findings. Raises BaselineError for any other text."""
    if not text.strip():
        return Baseline()
    try:
        document: Any = msgspec.json.decode(text)
        version = document.get("version")
        if version != VERSION:
            raise BaselineError(f"the baseline is of version {version!r}; version {VERSION} is read")
        entries = msgspec.convert(document.get("findings"), list[_Entry])
    except (msgspec.MsgspecError, AttributeError, UnicodeDecodeError) as error:
        raise BaselineError("the file is no baseline") from error
    counts: Counter[Key] = Counter()
    for entry in entries:
        counts[Key(entry.code, entry.file, entry.message, entry.context)] += entry.count
    return Baseline(counts)
