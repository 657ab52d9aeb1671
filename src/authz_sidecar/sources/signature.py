"""Who signed a commit: its SSH signature, judged by `ssh-keygen` as git judges it.

The signature of a commit covers its text, and by that its tree and the commit before it, whose ids are hashes: whoever
signs the newest commit vouches for the whole history that leads to it. The allowed signers are those of a file that is
not in the repository, in the form that ssh-keygen(1) describes under ALLOWED SIGNERS. As with git a key's `valid-after`
and `valid-before` are held against the time that the commit itself states, which its author chooses: take a key that is
not to be trusted any more out of the file.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from authz_sidecar.sources.commit import read_links

# What git signs commits for; the same key may sign other things, which are no commits.
NAMESPACE = "git"
VERIFY_SECONDS = 20
MAX_SIGNATURE_BYTES = 64 * 1024
_HEADER = b"gpgsig"
_BEGIN = b"-----BEGIN SSH SIGNATURE-----\n"
_END = b"\n-----END SSH SIGNATURE-----\n"


class SignatureError(Exception):
    """Why a commit does not count as signed, in words that follow "it"."""


def verify_commit(raw: bytes, allowed_signers: Path) -> str:
    """The principal that signed the commit of this text; raises SignatureError.

    `ssh-keygen` is asked twice: whose key it is, and whether the signature holds.
    """
    payload, signature = split_signature(raw)
    if not signature:
        raise SignatureError("is not signed")
    if not signature.startswith(_BEGIN):
        raise SignatureError("is signed by other means than an SSH key")
    if signature.count(b"-----BEGIN ") != 1 or not signature.endswith(_END):
        # ssh-keygen would read the first, and nobody would have signed the rest.
        raise SignatureError("has more than one signature, or more in it than that")
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureError("has a signature that is too large")
    if not os.access(allowed_signers, os.R_OK):
        raise SignatureError(f"cannot be verified: the allowed signers in `{allowed_signers}` cannot be read")
    moment = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(read_links(raw).committed))
    at = f"verify-time={moment}"
    with tempfile.TemporaryDirectory(prefix="authz-signature-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        common = ("-f", str(allowed_signers), "-s", str(file), "-O", at)
        found = _ssh_keygen(("-Y", "find-principals", *common), b"")
        principals = [line for line in found.stdout.decode("utf-8", "replace").splitlines() if line]
        if found.returncode or not principals:
            raise SignatureError(f"is signed by a key that is not among the allowed signers{_said(found)}")
        last = found
        for principal in principals:
            last = _ssh_keygen(("-Y", "verify", "-n", NAMESPACE, "-I", principal, *common), payload)
            if not last.returncode:
                return principal
    raise SignatureError(f"has a signature that does not hold{_said(last)}")


def split_signature(raw: bytes) -> tuple[bytes, bytes]:
    """What was signed, and the signature (b"" for none): the header of that name apart from the rest of the commit,
    byte for byte as git does it."""
    head, gap, body = raw.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    inside = b""
    for line in head.split(b"\n"):
        if not line.startswith(b" "):
            name = line.partition(b" ")[0]
            # `gpgsig-sha256` is the same for the other hash: it is not part of what was signed either.
            inside = name if name in {_HEADER, _HEADER + b"-sha256"} else b""
        if not inside:
            kept.append(line)
        elif inside == _HEADER:
            signature.append(line[1:] if line.startswith(b" ") else line[len(_HEADER) + 1 :])
    return b"\n".join(kept) + gap + body, b"\n".join(signature) + b"\n" if signature else b""


def _ssh_keygen(arguments: tuple[str, ...], payload: bytes) -> "subprocess.CompletedProcess[bytes]":
    """Run it, without a shell, a terminal, an agent, or more of our environment than it needs."""
    try:
        return subprocess.run(  # noqa: S603 - the arguments are ours, a name from the allowed signers among them
            ("ssh-keygen", *arguments),  # noqa: S607 - where the system has it
            input=payload,
            capture_output=True,
            check=False,
            timeout=VERIFY_SECONDS,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise SignatureError(
            "cannot be verified: there is no `ssh-keygen` here, which is part of the OpenSSH client"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SignatureError(f"cannot be verified: ssh-keygen failed ({type(error).__name__})") from error


def _said(ran: "subprocess.CompletedProcess[bytes]") -> str:
    """The first line that the program wrote, as part of a sentence."""
    lines = (ran.stderr + b"\n" + ran.stdout).decode("utf-8", "replace").split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    return f" (ssh-keygen says: {ascii(first[:200])[1:-1]})" if first else ""
