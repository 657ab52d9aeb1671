"""How findings of lint rules name places and holders."""

from authz_sidecar.bundle.wording import quote
from authz_sidecar.values import Span
from authz_sidecar.values.request import ROLE_PREFIX


def file_and_line(span: Span) -> str:
    """A place beside the one that a finding stands at: file and line."""
    return quote(f"{span.file}:{span.line}" if span.line else span.file)


def holder_of(subject: str) -> str:
    """The subject of a rule as its author wrote it: a role without its prefix, or an identity."""
    return quote(subject.removeprefix(ROLE_PREFIX))
