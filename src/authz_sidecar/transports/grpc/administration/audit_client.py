"""The other end of the audit: a running sidecar is asked for records."""

from collections.abc import Iterator

import grpc
from google.protobuf import timestamp_pb2

from authz_sidecar._proto.authz.v1 import audit_service_pb2 as messages
from authz_sidecar._proto.authz.v1.audit_service_pb2_grpc import AuditServiceStub
from authz_sidecar.audit.chain import ChainError, parse
from authz_sidecar.audit.reading import AuditFilter, Entry
from authz_sidecar.transports.address import Address
from authz_sidecar.transports.certificates import ClientTls
from authz_sidecar.transports.grpc.client import CallFailedError, SidecarClient, read_failure
from authz_sidecar.transports.grpc.conversion import timestamp

PAGE = 500


class AuditClient(SidecarClient):
    """One connection to a sidecar, as `SidecarClient`, which also reads its audit."""

    def __init__(self, address: Address, timeout: float, credential: str = "", tls: ClientTls | None = None) -> None:
        super().__init__(address, timeout, credential, tls)
        self._audit = AuditServiceStub(self._channel)

    def list_audit_records(self, filter: AuditFilter) -> Iterator[Entry]:
        """The records that `filter` takes, those that the caller may read, page by page."""
        token = ""
        while True:
            asked = messages.ListAuditRecordsRequest(filter=_message(filter), page_size=PAGE, page_token=token)
            answer = self._ask(self._audit.ListAuditRecords, asked)
            yield from map(_entry, answer.records)
            token = answer.next_page_token
            if not token:
                return

    def follow_audit_records(self, filter: AuditFilter, after: int | None) -> Iterator[Entry]:
        """The records after a place (None: from now on), as they are written, until the server ends the call."""
        asked = messages.FollowAuditRecordsRequest(filter=_message(filter), after_sequence=after)
        call = self._audit.FollowAuditRecords(asked, metadata=self._metadata)
        try:
            for answer in call:
                yield _entry(answer.record)
        except grpc.RpcError as error:
            raise read_failure(error) from None
        finally:
            call.cancel()


def _message(filter: AuditFilter) -> messages.AuditFilter:
    def stamp(seconds: float | None) -> timestamp_pb2.Timestamp | None:
        return None if seconds is None else timestamp(seconds)

    return messages.AuditFilter(
        actor=filter.actor,
        subject=filter.subject,
        identity=filter.identity,
        company=filter.company,
        actions=filter.actions,
        start_time=stamp(filter.begins),
        end_time=stamp(filter.ends),
    )


def _entry(message: messages.AuditRecord) -> Entry:
    try:
        return Entry(parse(message.text).record, message.text, bytes.fromhex(message.hash))
    except (ChainError, ValueError) as error:
        what = f"the server gives a record that this version does not know: {error}"
        raise CallFailedError(grpc.StatusCode.UNKNOWN, what) from error
