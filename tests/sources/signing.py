"""Keys of ssh-keygen that sign commits."""

import subprocess
from pathlib import Path


class Signer:
    """Somebody with a key in `folder`, known as `principal`."""

    def __init__(self, folder: Path, principal: str, kind: str = "ed25519") -> None:
        folder.mkdir()
        self.key = folder / "key"
        self.principal = principal
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(self.key)]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def options(self) -> tuple[str, ...]:
        """What makes git sign a commit by this key."""
        return ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}", "-c", "commit.gpgsign=true")

    def allowed(self, options: str = "", principal: str = "") -> str:
        """The line of an allowed-signers file."""
        return f"{principal or self.principal} {options}{self.key.with_suffix('.pub').read_text()}"
