"""Answers as bytes of the wire.

Most of an answer is the same for every call: what its decision and the policy say. That part is encoded by protobuf
once and kept; the fields that differ are appended, which the encoding of protobuf allows ("Encoding", on the order of
fields). It spares a check the making of a message, several microseconds.
"""

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar.engine import Answer
from authz_sidecar.values import Reason, Violation

REASONS = {reason: check_pb2.Reason.Value(f"REASON_{reason.name}") for reason in Reason}
# Beginnings that are kept: reasons times the policy versions of some reloads.
MAX_KEPT = 64


def _tag(message: type, field: str) -> bytes:
    """The tag of a length-delimited field (wire type 2)."""
    number: int = message.DESCRIPTOR.fields_by_name[field].number  # type: ignore[attr-defined]
    return varint(number << 3 | 2)


def varint(number: int) -> bytes:
    """A number of the wire: seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_DECISION_ID = _tag(check_pb2.CheckResponse, "decision_id")
_VIOLATIONS = _tag(check_pb2.CheckResponse, "violations")
_SUBJECT = _tag(check_pb2.CheckResponse, "subject")
_ACTOR = _tag(check_pb2.CheckResponse, "actor")
_RESULTS = _tag(check_pb2.BatchCheckResponse, "results")
_RESULT = _tag(check_pb2.CheckStreamResponse, "result")
_LENGTHS = [varint(length) for length in range(1024)]


def _text(tag: bytes, text: str) -> bytes:
    """A field that holds text."""
    raw = text.encode()
    return tag + varint(len(raw)) + raw


class AnswerEncoder:
    """Writes `CheckResponse`, `BatchCheckResponse` and `CheckStreamResponse`."""

    def __init__(self) -> None:
        self._beginnings: dict[tuple[str, int, Reason, bool], bytes] = {}

    def check(self, answer: Answer, violations: tuple[Violation, ...] = ()) -> bytes:
        """A CheckResponse; `violations` are those of an invalid item."""
        decision = answer.decision
        beginning = self._beginnings.get(
            (answer.policy_version, answer.directory_revision, decision.reason, decision.allowed)
        )
        if beginning is None:
            beginning = self._begin(answer)
        name = answer.decision_id.encode()
        raw = beginning + _LENGTHS[len(name)] + name
        asker = answer.asker
        if asker is not None and asker.named:
            # `_text`, without its call: this is done for every check with a credential.
            subject = asker.subject.encode()
            size = len(subject)
            raw += _SUBJECT + (_LENGTHS[size] if size < 1024 else varint(size)) + subject
            if asker.actor:
                raw += _text(_ACTOR, asker.actor)
        for violation in violations:
            raw += _text(_VIOLATIONS, violation.description)
        return raw

    def batch(self, results: list[bytes]) -> bytes:
        """A BatchCheckResponse of encoded CheckResponses."""
        parts: list[bytes] = []
        for raw in results:
            size = len(raw)
            parts += (_RESULTS, _LENGTHS[size] if size < 1024 else varint(size), raw)
        return b"".join(parts)

    def stream(self, result: bytes) -> bytes:
        """A CheckStreamResponse of an encoded CheckResponse."""
        return _RESULT + varint(len(result)) + result

    def _begin(self, answer: Answer) -> bytes:
        decision = answer.decision
        message = check_pb2.CheckResponse(
            allowed=decision.allowed,
            reason=REASONS[decision.reason],
            policy_version=answer.policy_version,
            directory_revision=answer.directory_revision,
        )
        beginning = message.SerializeToString() + _DECISION_ID
        if len(self._beginnings) >= MAX_KEPT:
            self._beginnings.clear()
        key = (answer.policy_version, answer.directory_revision, decision.reason, decision.allowed)
        self._beginnings[key] = beginning
        return beginning
