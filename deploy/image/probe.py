#!/usr/bin/env -S python3 -IS
"""Ask the sidecar in this container how it is: `authz-sidecar-probe PATH [ADDR]` exits 0 if PATH answers 200, else 1.

PATH is `/healthz` or `/readyz`; ADDR is what `serve --http` was given, by default the value of AUTHZ_HTTP. It starts
in hundredths of a second, since orchestrators run it every few seconds: `-IS` and the one import beyond `sys` are why.
"""

import os
import socket
import sys

DEFAULT = "127.0.0.1:8080"
PATIENCE_SECONDS = 2.0


def connect(address: str) -> socket.socket:
    """A connection to `host:port`, `[ipv6]:port` or `unix:/path`; raises OSError and ValueError."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE_SECONDS)


def main() -> int:
    """Ask once; says what is wrong on standard error, where orchestrators show it."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
    address = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("AUTHZ_HTTP") or DEFAULT
    try:
        with connect(address) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(4096):
                answer += part
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no answer from `{address}`: {error}\n")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] == [b"200"]:
        return 0
    sys.stderr.write(f"{path}: {body.decode(errors='replace')}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
