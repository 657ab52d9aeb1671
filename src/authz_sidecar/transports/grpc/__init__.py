"""gRPC: `authz.v1.AuthorizationService`, health and reflection on grpcio's asyncio server."""
