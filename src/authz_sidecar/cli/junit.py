"""Test results as JUnit XML, the form that CI systems show."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from authz_sidecar.cli.terminal import visible


class JunitCase:
    """One case: its place in the bundle, its name, and on failure a message and the full text."""

    __slots__ = ("file", "line", "message", "name", "text")

    def __init__(self, file: str, line: int, name: str, message: str = "", text: str = "") -> None:
        self.file = file
        self.line = line
        self.name = name
        self.message = message
        self.text = text


def junit_text(cases: Sequence[JunitCase]) -> str:
    """A document with one suite per file, in the order of the cases."""
    suites: dict[str, list[JunitCase]] = {}
    for case in cases:
        suites.setdefault(case.file, []).append(case)
    root = ET.Element("testsuites", _counts(cases))
    for file, members in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": visible(file)} | _counts(members))
        for case in members:
            element = ET.SubElement(
                suite,
                "testcase",
                # XML 1.0 has no way to write most control characters, so that every text is made visible.
                {
                    "classname": visible(file),
                    "name": visible(case.name),
                    "file": visible(file),
                    "line": str(case.line),
                },
            )
            if case.message:
                failure = ET.SubElement(element, "failure", {"message": visible(case.message), "type": "decision"})
                failure.text = "\n".join(visible(line) for line in case.text.split("\n"))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _counts(cases: Sequence[JunitCase]) -> dict[str, str]:
    failures = sum(bool(case.message) for case in cases)
    return {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": "0"}
