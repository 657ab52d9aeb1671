"""Real git repositories, and a server that lets them be fetched over HTTP by git's own `http-backend`."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MAX_BODY = 1 << 24


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run git without the user's settings; what it printed."""
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    ran = subprocess.run(
        ["git", *settings, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"} | (environment or {}),
    )
    return ran.stdout.strip()


class GitServer:
    """Repositories below `root`, as `http://127.0.0.1:PORT/NAME`; what it does may be changed while it runs.

    With `password` it wants `user` and that. `breaks_after` ends an answer to a fetch after so many bytes, and
    `redirects_to` sends everybody elsewhere. `silent` holds answers back until it is cleared.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.password = ""
        self.breaks_after: int | None = None
        self.redirects_to = ""
        self.talking = threading.Event()
        self.talking.set()
        # The credentials that came with each request, None for none.
        self.seen: list[str | None] = []
        self.fetches = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @contextmanager
    def running(self) -> Iterator["GitServer"]:
        """Serve, until the end of the context."""
        self._thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Be gone: nobody listens any more."""
        if self._thread.is_alive():
            self.talking.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def _handler(server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            """What refs there are."""
            self._answer(b"")

        def do_POST(self) -> None:
            """A fetch, or what refs there are."""
            length = int(self.headers.get("Content-Length") or 0)
            self._answer(self.rfile.read(min(length, MAX_BODY)))

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

        def _answer(self, body: bytes) -> None:
            server.talking.wait(60)
            given = self.headers.get("Authorization")
            server.seen.append(base64.b64decode(given.removeprefix("Basic ")).decode() if given else None)
            if server.redirects_to:
                self.send_response(302)
                self.send_header("Location", server.redirects_to + self.path)
                self.end_headers()
            elif server.password and server.seen[-1] != f"user:{server.password}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
            else:
                self._run(body)

        def _run(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            fetching = b"command=fetch" in body
            server.fetches += fetching
            ran = subprocess.run(
                ["git", "http-backend"],
                input=body,
                capture_output=True,
                check=False,
                env={
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(server.root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                },
            )
            head, _, content = ran.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if fetching and server.breaks_after is not None:
                content = content[: server.breaks_after]
            self.wfile.write(content)

    return Handler
