"""The files of a bundle, as read: an immutable mapping from relative path to bytes, and the limits on both."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

GATES_FILE = "gates.yaml"

MIB = 1 << 20
MAX_FILES = 10_000
MAX_BUNDLE_BYTES = 512 * MIB
MAX_YAML_BYTES = 16 * MIB
MAX_CSV_BYTES = 256 * MIB
MAX_MODEL_BYTES = MIB


class BundleFiles(Mapping[str, bytes]):
    """What a source read: relative posix path -> content, in sorted order, and the bundle's `name`."""

    __slots__ = ("_files", "name")

    def __init__(self, files: Mapping[str, bytes], name: str) -> None:
        self._files = MappingProxyType(dict(sorted(files.items())))
        self.name = name

    def __getitem__(self, path: str) -> bytes:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def max_bytes(path: str) -> int:
    """How large the file at `path` may be, by its kind."""
    if path.endswith(".csv"):
        return MAX_CSV_BYTES
    if path.endswith(".conf"):
        return MAX_MODEL_BYTES
    return MAX_YAML_BYTES


def is_policy(path: str) -> bool:
    """Whether the file says something to the sidecar: notes for people (`*.md`, `LICENSE`) do not, nor does
    anything whose name or folder begins with a dot."""
    parts = path.split("/")
    if any(part.startswith(".") for part in parts):
        return False
    return not (path.endswith(".md") or parts[-1] in ("LICENSE", "NOTICE"))


def is_known(path: str) -> bool:
    """Whether a bundle has files of this name."""
    return path == "model.conf" or path.endswith((".csv", ".yaml"))
