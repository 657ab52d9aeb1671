"""What the transport allows: `python -m bench.echo RESPONSE` answers every Check with one constant.

A bare grpcio asyncio server on uvloop, as small as one can be written: it parses the CheckRequest and serialises the
CheckResponse that is given in hexadecimal, and decides nothing. It prints `ready grpc=HOST:PORT` and ends on SIGTERM.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
import grpc.aio
import uvloop

from authz_sidecar._proto.authz.v1 import check_pb2


async def serve(response: check_pb2.CheckResponse) -> None:
    """Serve on any free port until SIGTERM."""

    async def check(_request: check_pb2.CheckRequest, _context: Any) -> check_pb2.CheckResponse:
        return response

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=check_pb2.CheckRequest.FromString,
        response_serializer=check_pb2.CheckResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("authz.v1.AuthorizationService", {"Check": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"ready grpc=127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve(check_pb2.CheckResponse.FromString(bytes.fromhex(sys.argv[1]))))
