"""Who asks: the fields of a message that name the subject, by itself, by a credential, or as somebody to act for."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from authz_sidecar._proto.authz.v1 import check_pb2, filter_pb2
from authz_sidecar.engine import Asker, Identities
from authz_sidecar.transports.grpc.errors import ErrorReason, InvalidCheckError, not_supported
from authz_sidecar.values import Reason, Violation
from authz_sidecar.values.request import ROLE_PREFIX, value_problem

Asking: TypeAlias = check_pb2.CheckRequest | filter_pb2.FilterObjectsRequest

NOBODY = Violation("subject", "neither subject nor credential is set")
# Stands for the subject of a request whose credential stands for nobody, while the rest of it is looked at. It is this
# very object, which no text that was received is.
STAND_IN = "--"
# How API keys and access tokens begin.
SECRETS = ("azk_", "azt_")


def read_asker(
    message: Asking,
    identities: Identities,
    company: str | None,
    time: float,
    refused: Mapping[str, Reason] | None = None,
) -> Asker:
    """For whom to decide what a message asks about an object of `company` (None: of any), at `time` (seconds since
    1970-01-01 UTC). `refused` are credentials that are known to stand for nobody. Raises InvalidCheckError."""
    subject, credential, user = message.subject, message.credential, message.on_behalf_of
    # A secret in the wrong field would go to logs as a name.
    if subject.startswith(SECRETS):
        raise InvalidCheckError([Violation("subject", "subject is a credential; send it as credential")])
    if credential or user:
        if bool(credential) == bool(subject):
            raise _not_one(credential)
        if subject:
            # It is not the subject of the request, which is looked at later.
            problem = value_problem(subject)
            if subject.startswith(ROLE_PREFIX):
                problem = f"begins with `{ROLE_PREFIX}`, which is kept for roles"
            if problem:
                raise InvalidCheckError([Violation("subject", f"subject {problem}")])
        if user.startswith(SECRETS):
            raise InvalidCheckError([Violation("on_behalf_of", "on_behalf_of is a credential; name the user")])
        if refused and credential in refused:
            return Asker("", None, identities.directory.revision, refused[credential], named=True)
    return identities.asker(subject, credential, user, company, time)


def refuse_identification(message: Asking) -> None:
    """Raises for the ways of naming the subject that need a directory; an invalid mixture comes first."""
    if bool(message.credential) == bool(message.subject):
        raise _not_one(message.credential)
    if message.credential:
        raise credentials_not_known()
    raise not_supported(
        ErrorReason.ON_BEHALF_OF_NOT_SUPPORTED, "there is no directory of identities here to know on_behalf_of by"
    )


def credentials_not_known() -> Exception:
    """The error of a call with a credential where there is no directory."""
    return not_supported(
        ErrorReason.CREDENTIAL_NOT_SUPPORTED,
        "there is no directory of identities here to know credentials by; set subject",
    )


def invalid_question(asker: Asker | None, subject: str, violations: Iterable[Violation]) -> InvalidCheckError:
    """The error of a message whose values are refused. What is wrong with its subject is wrong with the field that
    named it; where none did, a credential would have done as well."""
    named = ""
    if asker is not None and asker.named:
        named = "on_behalf_of" if asker.actor else "credential"

    def rename(found: Violation) -> Violation:
        if found.field != "subject" or (subject and not named):
            return found
        return Violation(named, found.description.replace("subject", named, 1)) if named else NOBODY

    return InvalidCheckError([rename(found) for found in violations])


def named_subject(asker: Asker | None) -> str:
    """Whom an answer names as its subject: whoever the request did not name by itself."""
    return asker.subject if asker is not None and asker.named else ""


def named_actor(asker: Asker | None) -> str:
    """Whom an answer names as acting for its subject."""
    return asker.actor if asker is not None else ""


def _not_one(credential: str) -> InvalidCheckError:
    """The error of a message in which not exactly one of subject and credential is set."""
    if not credential:
        return InvalidCheckError([NOBODY])
    description = "both subject and credential are set; exactly one of them names the subject"
    return InvalidCheckError([Violation("credential", description)])
