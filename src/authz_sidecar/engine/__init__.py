"""Floor 9: which policy is current, the answers it gives, and what is counted of them.

It holds the one decider that is current, replaces it in one assignment, and names every answer. It knows no
wire format and does no I/O.
"""

from authz_sidecar.engine.asking import Asker, Identities
from authz_sidecar.engine.counts import Counts
from authz_sidecar.engine.engine import Answer, Engine, FilterAnswer, Observer, ServedPolicy, UnwitnessedError, Witness
from authz_sidecar.engine.status import DirectoryStatus, IssuerStatus, PolicyStatus, Refusal

__all__ = [
    "Answer",
    "Asker",
    "Counts",
    "DirectoryStatus",
    "Engine",
    "FilterAnswer",
    "Identities",
    "IssuerStatus",
    "Observer",
    "PolicyStatus",
    "Refusal",
    "ServedPolicy",
    "UnwitnessedError",
    "Witness",
]
