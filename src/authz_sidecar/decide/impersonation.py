"""A service account that acts for a user: whether it may, and then what the user may.

It never widens what the user may do: the answer is the user's own, or a denial. What lets a service account act for
users on an object is a rule that names the action `impersonate`; a rule for any action does not.
"""

from msgspec.structs import replace

from authz_sidecar.decide.clauses import intersect
from authz_sidecar.decide.decider import Decider
from authz_sidecar.values import Decision, Reason, Request
from authz_sidecar.values.filter import FilterRequest, ObjectFilter, no_objects
from authz_sidecar.values.identity import Identity, IdentityKind
from authz_sidecar.values.request import EMPTY

IMPERSONATE = "impersonate"

_REFUSED = Decision(False, Reason.IMPERSONATION_NOT_ALLOWED)
_INACTIVE = Decision(False, Reason.INACTIVE_SUBJECT)


def decide_for(decider: Decider, request: Request, caller: Identity) -> Decision:
    """The decision on what `caller` asks on behalf of the request's subject, a user whom the directory knows.

    `caller` must be an active service account that a rule lets impersonate on the object by name and that no deny keeps
    from it; the user must be active and hold no platform role but those that the bundle lists for it. The decision is
    then the user's own, whose reason and rule are given.
    """
    refusal = _refusal(decider, request, caller)
    return decider.decide(request) if refusal is None else refusal


def _refusal(decider: Decider, request: Request, caller: Identity) -> Decision | None:
    """Why the caller may not act for the user on the object; None where it may."""
    user = request.identity
    if not caller.active:
        return _INACTIVE
    if user is None or not _are_caller_and_user(caller, request):
        return _REFUSED
    asked = as_caller(request, caller)
    permission = decider.decide(asked)
    if permission.reason is Reason.INVALID_REQUEST:
        return permission
    if not permission.allowed or not decider.names_action(asked):
        return _REFUSED
    # Who may act there is told that the user is switched off, and nobody else is.
    if not user.active:
        return _INACTIVE
    return None if may_be_impersonated(decider, user, request.time) else _REFUSED


def _are_caller_and_user(caller: Identity, request: Request) -> bool:
    """Whether a service account asks for a user: no service account is acted for, so that nobody acts through two."""
    user = request.identity
    return (
        caller.kind == IdentityKind.SERVICE_ACCOUNT
        and user is not None
        and user.kind == IdentityKind.USER
        and user.id == request.subject
    )


def as_caller(request: Request, caller: Identity) -> Request:
    """The question whether `caller` may impersonate on the request's object. What the request says of its subject it
    says of the user."""
    return replace(request, subject=caller.id, action=IMPERSONATE, subject_attributes=EMPTY, identity=caller)


def may_be_impersonated(decider: Decider, user: Identity, time: float) -> bool:
    """Whether a user holds no other platform role than those that the bundle lists by name."""
    return decider.platform_roles(user, time) <= decider.snapshot.directory_rules.impersonated_platform_roles


def filter_for(decider: Decider, asked: FilterRequest, caller: Identity) -> ObjectFilter:
    """The objects for which `decide_for` allows: those that the user may act on and on which `caller` may act for it.

    Raises LookupError on a snapshot that was compiled without searches.
    """
    request = asked.request
    user = request.identity
    if not caller.active:
        return no_objects(Reason.INACTIVE_SUBJECT)
    if not _are_caller_and_user(caller, request):
        return no_objects(Reason.IMPERSONATION_NOT_ALLOWED)
    permitted = decider.filter_named(FilterRequest(as_caller(request, caller), asked.narrowed))
    if permitted.reason is Reason.INVALID_REQUEST:
        return permitted
    if not permitted.clauses or user is None:
        return no_objects(Reason.IMPERSONATION_NOT_ALLOWED)
    if not user.active:
        return no_objects(Reason.INACTIVE_SUBJECT)
    if not may_be_impersonated(decider, user, request.time):
        return no_objects(Reason.IMPERSONATION_NOT_ALLOWED)
    own = decider.filter(asked)
    if not own.clauses:
        return own
    return intersect(own, permitted, request.subject)
