"""Errors of calls: code, sentence, violations and ErrorInfo."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2, filter_pb2
from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from tests.server.sidecar import Sidecar, check_of, failure_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
CHECK = "/authz.v1.AuthorizationService/Check"


def call_raw(sidecar: Sidecar, path: str, payload: bytes) -> bytes:
    """The bytes that a method answers to bytes."""
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = sidecar.channel.unary_unary(path)
    return method(payload)


def wide_struct(count: int) -> struct_pb2.Struct:
    """A Struct with `count` numbers."""
    struct = struct_pb2.Struct()
    struct.update({f"k{number}": number for number in range(count)})
    return struct


def deep_struct(depth: int) -> struct_pb2.Struct:
    """A Struct of `depth` maps inside each other."""
    struct = struct_pb2.Struct()
    inner = struct
    for _ in range(depth - 1):
        inner = inner.fields["x"].struct_value
    inner.fields["x"].bool_value = True
    return struct


@pytest.mark.parametrize(
    ("check", "violations"),
    [
        pytest.param(
            check_pb2.CheckRequest(),
            {"subject": "neither subject nor credential is set", "action": "action is empty"},
            id="nothing-is-set",
        ),
        pytest.param(check_of(action=""), {"action": "action is empty"}, id="no-action"),
        pytest.param(check_of(subject=""), {"subject": "neither subject nor credential is set"}, id="no-subject"),
        pytest.param(
            check_of(credential="key"),
            {"credential": "both subject and credential are set; exactly one of them names the subject"},
            id="subject-and-credential",
        ),
        pytest.param(
            check_of(subject="", on_behalf_of="carol"),
            {"subject": "neither subject nor credential is set"},
            id="on-behalf-of-without-a-subject",
        ),
        pytest.param(
            check_of(subject="role:editor"),
            {"subject": "subject begins with `role:`, which is kept for roles"},
            id="a-role-as-subject",
        ),
        pytest.param(
            check_of(type="a:b"),
            {"object.type": "object.type holds a colon; the type ends before the first one"},
            id="a-colon-in-the-type",
        ),
        pytest.param(
            check_of(subject="a" * 1025),
            {"subject": "subject is 1025 bytes long; at most 1024 are taken"},
            id="a-value-over-the-limit",
        ),
        pytest.param(
            check_of(id="é" * 600),
            {"object.id": "object.id is 1200 bytes long; at most 1024 are taken"},
            id="a-value-over-the-limit-in-bytes",
        ),
        pytest.param(
            check_of(company="acme\n"),
            {"object.company": "object.company holds the control character U+000A"},
            id="a-line-break",
        ),
        pytest.param(
            check_of(action=" read"), {"action": "action begins or ends with white space"}, id="outer-white-space"
        ),
        pytest.param(
            check_of(context=wide_struct(5000)),
            {"context": "context holds more than 4096 values"},
            id="a-wide-context",
        ),
        pytest.param(
            check_of(subject_attributes=deep_struct(20)),
            {"subject_attributes": "subject_attributes is nested more than 16 deep"},
            id="deep-attributes",
        ),
        pytest.param(
            check_of(section="2"),
            {"context.level": "context.level is not set; the policy's model reads `r.level`"},
            id="a-token-that-nothing-fills",
        ),
        pytest.param(check_of(section="9"), {"section"}, id="a-section-that-the-model-does-not-have"),
    ],
)
def test_an_invalid_check_names_its_fields(
    sidecar: Sidecar, check: check_pb2.CheckRequest, violations: dict[str, str] | set[str]
) -> None:
    """An invalid check is INVALID_ARGUMENT, with every field that is wrong, alike in Check and in Explain."""
    failure = failure_of(lambda: sidecar.stub.Check(check))
    assert failure.code is INVALID
    assert failure.violations == violations or failure.violations.keys() == violations
    assert (failure.info.reason, failure.info.domain) == ("INVALID_CHECK", "authz-sidecar")
    assert (failure.status.code, failure.status.message) == (INVALID.value[0], failure.message)

    explained = failure_of(lambda: sidecar.stub.Explain(explain_pb2.ExplainRequest(check=check)))
    assert explained.code is INVALID
    assert explained.violations == {f"check.{name}": text for name, text in failure.violations.items()}


def test_a_value_at_the_limit_is_taken(sidecar: Sidecar) -> None:
    """1,024 bytes are within the limit of a value."""
    assert sidecar.stub.Check(check_of(id="a" * 1024)).allowed


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        pytest.param(
            lambda stub: stub.Check(check_of(subject="", credential="key")), "CREDENTIAL_NOT_SUPPORTED", id="credential"
        ),
        pytest.param(
            lambda stub: stub.Check(check_of(on_behalf_of="carol")), "ON_BEHALF_OF_NOT_SUPPORTED", id="on-behalf-of"
        ),
        pytest.param(
            lambda stub: stub.Explain(explain_pb2.ExplainRequest(check=check_of(on_behalf_of="carol"))),
            "ON_BEHALF_OF_NOT_SUPPORTED",
            id="explain",
        ),
        pytest.param(
            lambda stub: stub.BatchCheck(
                check_pb2.BatchCheckRequest(checks=[check_of(), check_of(subject="", credential="key")])
            ),
            "CREDENTIAL_NOT_SUPPORTED",
            id="one-item-of-a-batch",
        ),
        pytest.param(
            lambda stub: stub.FilterObjects(filter_pb2.FilterObjectsRequest(credential="key")),
            "CREDENTIAL_NOT_SUPPORTED",
            id="filter",
        ),
    ],
)
def test_what_is_not_built_yet_is_refused(
    sidecar: Sidecar, call: Callable[[AuthorizationServiceStub], Any], reason: str
) -> None:
    """What the sidecar cannot honour yet ends in UNIMPLEMENTED with a reason of its own, and is never ignored."""
    failure = failure_of(lambda: call(sidecar.stub))
    assert (failure.code, failure.info.reason, failure.info.domain) == (UNIMPLEMENTED, reason, "authz-sidecar")
    assert (failure.status.code, failure.status.message) == (UNIMPLEMENTED.value[0], failure.message)
    assert not failure.violations


def test_a_batch_over_the_limit_is_refused(sidecar: Sidecar) -> None:
    """1,001 checks in one batch are RESOURCE_EXHAUSTED with the limit, and not to be repeated as they are."""
    batch = check_pb2.BatchCheckRequest(checks=[check_of()] * 1001)
    failure = failure_of(lambda: sidecar.stub.BatchCheck(batch))
    assert (failure.code, failure.hopeless) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    assert failure.violations == {"checks": "checks holds more than 1000 checks; send several batches"}
    assert (failure.info.reason, dict(failure.info.metadata)) == ("BATCH_TOO_LARGE", {"limit": "1000"})


def test_an_error_repeats_no_value_of_the_request(sidecar: Sidecar) -> None:
    """What the caller sent is not sent back in an error, so that no log along the way keeps it."""
    failure = failure_of(lambda: sidecar.stub.Check(check_of(subject="s3cret\n", credential="")))
    assert "s3cret" not in str(failure.status)


@pytest.mark.parametrize(
    "path",
    ["/authz.v1.AuthorizationService/NoSuchMethod", "/no.such.Service/Check", "/authz.v1.authorizationservice/Check"],
)
def test_an_unknown_method_is_unimplemented(sidecar: Sidecar, path: str) -> None:
    """A method or service that does not exist is UNIMPLEMENTED."""
    failure = failure_of(lambda: call_raw(sidecar, path, b""))
    assert failure.code is UNIMPLEMENTED


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe"], ids=["no-message", "no-utf-8"])
def test_bytes_that_are_no_message_are_refused(sidecar: Sidecar, payload: bytes) -> None:
    """Bytes that do not parse are INVALID_ARGUMENT, and the connection lives."""
    failure = failure_of(lambda: call_raw(sidecar, CHECK, payload))
    assert (failure.code, failure.info.reason) == (INVALID, "MALFORMED_MESSAGE")
    assert sidecar.stub.Check(check_of()).allowed


def test_unknown_fields_are_ignored(sidecar: Sidecar) -> None:
    """A field that a newer client sends and this server does not know does not disturb."""
    newer = check_of().SerializeToString() + b"\xa2\x06\x03new"
    answer = call_raw(sidecar, CHECK, newer)
    assert check_pb2.CheckResponse.FromString(answer).allowed


def test_a_message_over_the_limit_is_refused(sidecar: Sidecar) -> None:
    """A message over 4 MiB is RESOURCE_EXHAUSTED, and the connection is usable after it."""
    failure = failure_of(lambda: sidecar.stub.Check(check_of(id="a" * (4 * 1024 * 1024))))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sidecar.stub.Check(check_of()).allowed


def test_a_message_is_measured_after_decompression(sidecar: Sidecar) -> None:
    """A message that is small on the wire and over 4 MiB once unpacked is RESOURCE_EXHAUSTED."""
    bomb = check_of(id="a" * (64 * 1024 * 1024))
    failure = failure_of(lambda: sidecar.stub.Check(bomb, compression=grpc.Compression.Gzip))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sidecar.stub.Check(check_of(), compression=grpc.Compression.Gzip).allowed


def test_metadata_over_the_limit_is_refused(sidecar: Sidecar) -> None:
    """Metadata over 16 kB ends the call, not the server."""
    failure = failure_of(lambda: sidecar.stub.Check(check_of(), metadata=(("x-large", "a" * 20_000),)))
    assert failure.code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL}
    assert sidecar.stub.Check(check_of()).allowed
