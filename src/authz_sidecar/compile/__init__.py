"""Floor 3: a bundle becomes a snapshot: planner, role graphs, indexes. Pure."""

from authz_sidecar.compile.compiler import compile_bundle
from authz_sidecar.compile.snapshot import Snapshot

__all__ = ["Snapshot", "compile_bundle"]
