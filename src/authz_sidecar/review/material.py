"""What lint rules look at, with the analyses that several of them share."""

from functools import cached_property

from authz_sidecar.bundle.bundle import Bundle
from authz_sidecar.compile.snapshot import Snapshot
from authz_sidecar.review.redundancy import Redundancy, Redundant, find_redundant


class Material:
    """A bundle and its snapshot under review; each analysis is made once, when the first rule asks for it."""

    def __init__(self, bundle: Bundle, snapshot: Snapshot) -> None:
        self.bundle = bundle
        self.snapshot = snapshot

    @cached_property
    def _redundant(self) -> list[Redundant]:
        return find_redundant(self.bundle, self.snapshot)

    def redundant(self, kind: Redundancy) -> list[Redundant]:
        """The places whose rules no decision depends on for that reason."""
        return [found for found in self._redundant if found.kind is kind]

    @property
    def noun(self) -> str:
        """What the bundle's form calls a row of `p`: `grant` or `rule`."""
        return "grant" if self.bundle.form == "yaml" else "rule"
