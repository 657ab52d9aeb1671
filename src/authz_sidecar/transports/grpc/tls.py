"""TLS of the gRPC port and of its clients: TLS 1.2 or newer, HTTP/2 by ALPN, which both are the defaults of gRPC's
core."""

import grpc

from authz_sidecar.transports.certificates import Certificates, CertificateWatch, ClientTls


def server_credentials(watch: CertificateWatch) -> grpc.ServerCredentials:
    """Credentials that show each new connection the certificate that `watch` has then; open connections keep theirs.

    Where there are authorities for clients, a client without a certificate of theirs is refused in the handshake.
    """

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called before each handshake, by a thread of the core. None: as before.
        found = watch.look()
        return None if found is None else _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(watch.current),
        fetch,  # type: ignore[arg-type]  # its type leaves away that it may return None
        require_client_authentication=watch.current.client_ca is not None,
    )


def client_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Credentials of a channel that trusts only the authorities that are named."""
    return grpc.ssl_channel_credentials(tls.authorities, tls.key, tls.chain)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificates.key, certificates.chain)], certificates.client_ca)
