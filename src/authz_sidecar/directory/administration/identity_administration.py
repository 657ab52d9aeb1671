"""Administration of identities and of what they hold, in one place.

Every operation checks the rules of the policy inside the transaction that it makes, and what it did is added to the
audit there.

What an identity made stays when it is switched off or removed: `created_by` is a text.
"""

from authz_sidecar.directory.administration.assignments import AssignmentOperations
from authz_sidecar.directory.administration.grants import GrantOperations
from authz_sidecar.directory.administration.identities import IdentityOperations
from authz_sidecar.directory.administration.identity_import import Imported, ImportFailure, ImportOperations, ImportRow
from authz_sidecar.directory.administration.operation import Changed, Operations
from authz_sidecar.directory.administration.shares import ShareOperations

__all__ = ["Changed", "IdentityAdministration", "ImportFailure", "ImportRow", "Imported", "Operations"]


class IdentityAdministration(
    IdentityOperations, AssignmentOperations, GrantOperations, ShareOperations, ImportOperations
):
    """Identities, role assignments, grants and shares."""
