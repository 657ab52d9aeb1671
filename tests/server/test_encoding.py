"""Answers that are written byte by byte, against what protobuf makes of the same messages."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from authz_sidecar._proto.authz.v1 import check_pb2
from authz_sidecar.engine import Answer, Asker
from authz_sidecar.transports.grpc.encoding import MAX_KEPT, AnswerEncoder, varint
from authz_sidecar.values import Decision, Reason, Violation

# Lengths of one byte, of two, and of more than are kept ready; characters of one byte and of several.
texts = st.text(max_size=20) | st.builds(str.__mul__, st.sampled_from("aé漢"), st.integers(100, 3000))
# Ids are ours, and short.
ids = st.text(st.characters(codec="ascii"), max_size=300)
askers = st.builds(
    Asker, texts, st.none(), st.integers(0, 2**64 - 1), named=st.booleans(), credential=texts, actor=texts
).map(lambda asker: asker if asker.named else replace(asker, actor=""))
answers = st.builds(
    Answer,
    st.builds(Decision, st.booleans(), st.sampled_from(Reason)),
    texts,
    st.integers(0, 2**64 - 1),
    ids,
    st.none() | askers,
)
violations = st.lists(st.builds(Violation, st.just("field"), texts), max_size=4).map(tuple)
items = st.tuples(answers, violations)


def message_of(answer: Answer, found: tuple[Violation, ...] = ()) -> check_pb2.CheckResponse:
    """The message that says the same."""
    asker = answer.asker
    return check_pb2.CheckResponse(
        allowed=answer.decision.allowed,
        reason=check_pb2.Reason.Value(f"REASON_{answer.decision.reason.name}"),
        policy_version=answer.policy_version,
        directory_revision=answer.directory_revision,
        decision_id=answer.decision_id,
        violations=[violation.description for violation in found],
        subject=asker.subject if asker is not None and asker.named else "",
        actor=asker.actor if asker is not None else "",
    )


@given(st.lists(items, min_size=1, max_size=6))
def test_an_answer_is_the_message(asked: list[tuple[Answer, tuple[Violation, ...]]]) -> None:
    """Each answer of one encoder parses to the message of its decision, whatever the answers before it were."""
    encoder = AnswerEncoder()
    for answer, found in asked * 2:
        assert check_pb2.CheckResponse.FromString(encoder.check(answer, found)) == message_of(answer, found)


@given(st.lists(items, max_size=8))
def test_a_batch_is_the_message(asked: list[tuple[Answer, tuple[Violation, ...]]]) -> None:
    """The answer to a batch parses to the messages of its items, in their order."""
    encoder = AnswerEncoder()
    raw = encoder.batch([encoder.check(answer, found) for answer, found in asked])
    expected = check_pb2.BatchCheckResponse(results=[message_of(answer, found) for answer, found in asked])
    assert check_pb2.BatchCheckResponse.FromString(raw) == expected


@given(items)
def test_an_answer_of_a_stream_is_the_message(asked: tuple[Answer, tuple[Violation, ...]]) -> None:
    """The answer on a stream parses to the message of its check."""
    encoder = AnswerEncoder()
    expected = check_pb2.CheckStreamResponse(result=message_of(*asked))
    assert check_pb2.CheckStreamResponse.FromString(encoder.stream(encoder.check(*asked))) == expected


def test_many_policy_versions_are_told_apart() -> None:
    """Answers name their own policy version also after more versions than an encoder keeps."""
    encoder = AnswerEncoder()
    decision = Decision(True, Reason.ALLOWED_BY_RULE)
    for version in [*range(3 * MAX_KEPT), *range(3 * MAX_KEPT)]:
        answer = Answer(decision, f"v{version}", 0, "1")
        assert check_pb2.CheckResponse.FromString(encoder.check(answer)) == message_of(answer)


@given(st.integers(0, 2**63))
def test_a_number_is_seven_bits_a_byte(number: int) -> None:
    """A number is written in seven bits a byte, the lowest first, and all but the last byte are marked."""
    raw = varint(number)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(raw)) == number
    assert [byte >> 7 for byte in raw] == [1] * (len(raw) - 1) + [0]
