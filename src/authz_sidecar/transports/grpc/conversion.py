"""Between the messages of `authz.v1` and values."""

from typing import Any

from google.protobuf import struct_pb2, timestamp_pb2
from msgspec.structs import replace

from authz_sidecar._proto.authz.v1 import check_pb2, explain_pb2
from authz_sidecar.engine import Answer, Asker
from authz_sidecar.transports.grpc.encoding import REASONS
from authz_sidecar.transports.grpc.identification import (
    STAND_IN,
    invalid_question,
    named_actor,
    named_subject,
    refuse_identification,
)
from authz_sidecar.values import Explanation, Request, Rule, build_request
from authz_sidecar.values.request import EMPTY, MAX_ATTRIBUTE_NODES, plain_request


def read_check(message: check_pb2.CheckRequest, time: float, asker: Asker | None = None) -> Request:
    """The request that a message asks, at `time` (seconds since 1970-01-01 UTC), for the asker; None without a
    directory.

    Raises InvalidCheckError with all violations, or CallError for what needs a directory.
    """
    if asker is None:
        subject, identity = message.subject, None
        if message.credential or message.on_behalf_of:
            refuse_identification(message)
    else:
        subject, identity = asker.subject, asker.identity
        if asker.named and not subject:
            subject = STAND_IN
    thing = message.object
    if not (message.HasField("context") or thing.HasField("attributes") or message.HasField("subject_attributes")):
        plain = plain_request(
            subject, message.action, thing.type, thing.id, thing.company, thing.owner, message.section, time, identity
        )
        if plain is not None:
            return plain if subject is not STAND_IN else replace(plain, subject="")
    request, violations = build_request(
        subject,
        message.action,
        type=thing.type,
        id=thing.id,
        company=thing.company,
        owner=thing.owner,
        subject_attributes=read_struct(message.subject_attributes) if message.HasField("subject_attributes") else EMPTY,
        object_attributes=read_struct(thing.attributes) if thing.HasField("attributes") else EMPTY,
        context=read_struct(message.context) if message.HasField("context") else EMPTY,
        time=time,
        section=message.section,
        identity=identity,
    )
    if request is None:
        raise invalid_question(asker, subject, violations)
    return request if subject is not STAND_IN else replace(request, subject="")


def read_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as JSON values.

    Reading stops once it has gone past the number of values that a request may hold, so that a message costs no
    more than a request: `build_request` then refuses what was read. Its depth is bounded by protobuf's parser.
    """
    budget = MAX_ATTRIBUTE_NODES + 1

    def read_map(source: struct_pb2.Struct) -> dict[str, Any]:
        nonlocal budget
        result: dict[str, Any] = {}
        for key, value in source.fields.items():
            if budget <= 0:
                break
            budget -= 1
            result[key] = read_value(value)
        return result

    def read_list(source: struct_pb2.ListValue) -> list[Any]:
        nonlocal budget
        result: list[Any] = []
        for value in source.values:
            if budget <= 0:
                break
            budget -= 1
            result.append(read_value(value))
        return result

    def read_value(value: struct_pb2.Value) -> Any:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            return value.string_value
        if kind == "number_value":
            return value.number_value
        if kind == "bool_value":
            return value.bool_value
        if kind == "struct_value":
            return read_map(value.struct_value)
        if kind == "list_value":
            return read_list(value.list_value)
        return None

    return read_map(struct)


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    """A time in seconds since 1970-01-01 UTC as a Timestamp, to the microsecond."""
    made = timestamp_pb2.Timestamp()
    made.FromMicroseconds(round(seconds * 1_000_000))
    return made


def answer_message(answer: Answer) -> check_pb2.CheckResponse:
    """An answer as a message."""
    decision = answer.decision
    return check_pb2.CheckResponse(
        allowed=decision.allowed,
        reason=REASONS[decision.reason],
        policy_version=answer.policy_version,
        directory_revision=answer.directory_revision,
        decision_id=answer.decision_id,
        subject=named_subject(answer.asker),
        actor=named_actor(answer.asker),
    )


def explanation_message(answer: Answer, explanation: Explanation) -> explain_pb2.ExplainResponse:
    """An explained answer as a message."""
    return explain_pb2.ExplainResponse(
        result=answer_message(answer),
        rule=None if explanation.rule is None else rule_message(explanation.rule, explanation.fields),
        role_path=explanation.role_path,
        roles=explanation.roles,
        near_misses=[
            explain_pb2.NearMiss(
                rule=rule_message(miss.rule, explanation.fields),
                field=miss.field,
                wanted=miss.wanted,
                got=miss.got,
                sentence=miss.sentence,
            )
            for miss in explanation.near_misses
        ],
        detail=explanation.decision.detail,
        source=explanation.decision.source,
    )


def rule_message(rule: Rule, fields: tuple[str, ...]) -> explain_pb2.Rule:
    """A rule with its place as a message; `fields` name its values."""
    return explain_pb2.Rule(
        ptype=rule.ptype,
        values=rule.values,
        file=rule.span.file,
        line=rule.span.line,
        column=rule.span.column,
        via=rule.via,
        fields=fields,
    )
