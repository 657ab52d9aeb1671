"""Ask a running sidecar one question with a stock gRPC client: `python examples/check.py [HOST:PORT]`."""

import sys

import grpc

from authz_sidecar._proto.authz.v1.authorization_service_pb2_grpc import AuthorizationServiceStub
from authz_sidecar._proto.authz.v1.check_pb2 import CheckRequest, Object, Reason

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
question = CheckRequest(
    subject="acme-operator",
    action="decide",
    object=Object(type="analysis", id="1", company="acme"),
)
with grpc.insecure_channel(address) as channel:
    answer = AuthorizationServiceStub(channel).Check(question, timeout=5)
print("allow" if answer.allowed else "deny", Reason.Name(answer.reason))
