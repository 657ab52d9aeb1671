"""Policy tests as values: single cases as they stand, matrices expanded cell by cell."""

from collections.abc import Mapping
from typing import Any

import msgspec

from authz_sidecar.values.decision import Reason
from authz_sidecar.values.request import Request, Violation, build_request
from authz_sidecar.values.span import Span


class PolicyTest(msgspec.Struct, frozen=True, kw_only=True):
    """One question with the answer that is expected.

    `allowed` is the expected decision; `reason` the expected reason, None where any will do. `span` is the
    test's own place, or its cell in a matrix; `matrix` is the name of that, "" for a single test.
    """

    name: str
    span: Span
    subject: str
    action: str
    type: str = ""
    id: str = ""
    company: str = ""
    owner: str = ""
    attributes: Mapping[str, Any] = {}
    subject_attributes: Mapping[str, Any] = {}
    context: Mapping[str, Any] = {}
    time: float = 0.0
    section: str = ""
    allowed: bool
    reason: Reason | None = None
    tags: tuple[str, ...] = ()
    matrix: str = ""

    def request(self) -> tuple[Request | None, tuple[Violation, ...]]:
        """The question as a request, or None with what is invalid in it."""
        return build_request(
            self.subject,
            self.action,
            type=self.type,
            id=self.id,
            company=self.company,
            owner=self.owner,
            subject_attributes=self.subject_attributes,
            object_attributes=self.attributes,
            context=self.context,
            time=self.time,
            section=self.section,
        )
