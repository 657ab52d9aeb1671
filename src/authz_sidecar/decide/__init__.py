"""Floor 4: `Decider(snapshot).decide(request) -> Decision`, and why. Pure: no I/O, no clock, no logging."""

from authz_sidecar.decide.decider import Decider

__all__ = ["Decider"]
