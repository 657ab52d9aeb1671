"""Between the messages of `FilterObjects` and values."""

from msgspec.structs import replace

from authz_sidecar._proto.authz.v1 import filter_pb2
from authz_sidecar.engine import Asker, FilterAnswer
from authz_sidecar.transports.grpc.conversion import read_struct
from authz_sidecar.transports.grpc.encoding import REASONS
from authz_sidecar.transports.grpc.identification import (
    STAND_IN,
    invalid_question,
    named_actor,
    named_subject,
    refuse_identification,
)
from authz_sidecar.values.filter import Clause, FilterKind, FilterRequest, build_filter_request
from authz_sidecar.values.request import EMPTY
from authz_sidecar.values.texts import ANY, Texts

_KINDS = {kind: filter_pb2.FilterKind.Value(f"FILTER_KIND_{kind.name}") for kind in FilterKind}


def read_filter(message: filter_pb2.FilterObjectsRequest, time: float, asker: Asker | None = None) -> FilterRequest:
    """The question that a message asks, at `time` (seconds since 1970-01-01 UTC), for the asker; None without a
    directory.

    Raises InvalidCheckError with all violations, or CallError for what needs a directory.
    """
    if asker is None:
        if message.credential or message.on_behalf_of:
            refuse_identification(message)
        subject, identity = message.subject, None
    else:
        subject, identity = asker.subject, asker.identity
        if asker.named and not subject:
            subject = STAND_IN
    asked, violations = build_filter_request(
        subject,
        message.action,
        message.object_type,
        company=message.company if message.HasField("company") else None,
        subject_attributes=read_struct(message.subject_attributes) if message.HasField("subject_attributes") else EMPTY,
        context=read_struct(message.context) if message.HasField("context") else EMPTY,
        time=time,
        section=message.section,
        identity=identity,
    )
    if asked is None:
        raise invalid_question(asker, subject, violations)
    return asked if subject is not STAND_IN else replace(asked, request=replace(asked.request, subject=""))


def filter_message(answer: FilterAnswer) -> filter_pb2.FilterObjectsResponse:
    """The response that tells an answer. Texts of a set are sorted, so that equal answers are equal messages."""
    found = answer.filter
    return filter_pb2.FilterObjectsResponse(
        kind=_KINDS[found.kind],
        clauses=[_clause(clause) for clause in found.clauses],
        exact=found.exact,
        left_out=found.left_out,
        reason=REASONS[found.reason],
        policy_version=answer.policy_version,
        directory_revision=answer.directory_revision,
        decision_id=answer.decision_id,
        subject=named_subject(answer.asker),
        actor=named_actor(answer.asker),
    )


def _clause(clause: Clause) -> filter_pb2.FilterClause:
    return filter_pb2.FilterClause(
        effect=filter_pb2.CLAUSE_EFFECT_ALLOW if clause.allows else filter_pb2.CLAUSE_EFFECT_DENY,
        company=_set(clause.company),
        id=_set(clause.id),
        owner=_set(clause.owner),
        conditions=clause.conditions,
    )


def _set(texts: Texts) -> filter_pb2.TextSet | None:
    if texts is ANY:
        return None
    return filter_pb2.TextSet(
        values=sorted(texts.values),
        prefixes=texts.prefixes,
        except_values=sorted(texts.except_values),
        except_prefixes=texts.except_prefixes,
    )
