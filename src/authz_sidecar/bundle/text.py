"""Bytes to text: UTF-8 without byte-order mark and without control characters, with the place of what is wrong."""

import re

from authz_sidecar.bundle.findings import Findings
from authz_sidecar.bundle.wording import counted, quote
from authz_sidecar.values.span import Span

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What a request value may not hold either (values/request.py), tabs and line ends apart.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


# Unicode's category Cf: characters that join, hide or reorder what stands beside them.
INVISIBLE = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f]"
)


def invisible_problem(character: str, span: Span, findings: Findings) -> None:
    """Warn of a character that is not seen and lets two values look alike."""
    findings.warning(
        span,
        "invisible-character",
        f"the invisible character U+{ord(character):04X} stands in column {span.column}",
        "remove it unless the name really has it; what looks the same without it is another name",
    )


def encoding_problem(data: bytes, start: int, file: str, line: int, findings: Findings) -> None:
    """Report that the byte at `start` is not UTF-8; `line` is the line of the first byte of `data`."""
    line += data.count(b"\n", 0, start)
    begin = data.rfind(b"\n", 0, start) + 1
    column = len(data[begin:start].decode("utf-8", "replace")) + 1
    findings.error(
        Span(file, line, column),
        "file-encoding",
        f"the file is not UTF-8: byte 0x{data[start]:02x} does not begin or continue a character",
        "save the file as UTF-8",
    )


def mark_problem(data: bytes, file: str, findings: Findings) -> bool:
    """Report a byte-order mark; whether there is one."""
    if data.startswith((BYTE_ORDER_MARK, b"\xff\xfe", b"\xfe\xff")):
        findings.error(
            Span(file, 1, 1),
            "file-encoding",
            "the file begins with a byte-order mark",
            "save the file as UTF-8 without a byte-order mark",
        )
        return True
    return False


def control_problem(character: str, span: Span, findings: Findings) -> None:
    """Report a control character."""
    findings.error(
        span,
        "file-encoding",
        f"the file holds the control character U+{ord(character):04X}",
        "remove the character; it is not visible in most editors",
    )


def size_problem(size: int, limit: int, file: str, findings: Findings) -> None:
    """Report a file over its limit (both in bytes)."""
    findings.error(
        Span(file),
        "file-size",
        f"the file {quote(file)} holds {counted(size, 'byte')}; at most {limit:,} are read",
        "split the file",
    )


def decode(data: bytes, file: str, findings: Findings) -> str | None:
    """The text of a whole file with every line end made a single line feed, or None with findings."""
    if mark_problem(data, file, findings):
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        encoding_problem(data, error.start, file, 1, findings)
        return None
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    clean = True
    for found in CONTROL.finditer(text):
        clean = False
        at = found.start()
        span = Span(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
        control_problem(found.group(), span, findings)
        if findings.full:
            break
    return text if clean else None
