"""Floor 7: which policy is current, and the answers it gives.

It holds the one decider that is current, replaces it in one assignment, and names every answer. It knows no
wire format and does no I/O.
"""

from authz_sidecar.engine.engine import Answer, Engine, ServedPolicy
from authz_sidecar.engine.limits import Limits

__all__ = ["Answer", "Engine", "Limits", "ServedPolicy"]
