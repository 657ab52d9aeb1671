"""Administration over gRPC: the services that need a credential and are themselves decided by the policy."""
