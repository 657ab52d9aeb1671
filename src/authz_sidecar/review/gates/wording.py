"""How gates name who and what, as phrases whose names each format escapes its own way."""

from collections.abc import Sequence

from authz_sidecar.review.access.change import Box, Kind
from authz_sidecar.review.report.permission import Permission
from authz_sidecar.review.report.wording import Phrase, names_phrase, role_name, texts_phrase
from authz_sidecar.values.texts import ANY, Texts


def what_phrase(box: Box) -> Phrase:
    """Requests: `folder, report: read, update (own) in every company`."""
    return Permission(
        types=box.type, actions=box.action, id=box.id, company=box.company, owner=box.owner, section=box.section
    ).phrase()


def who_phrase(kind: Kind, subjects: Sequence[str], names: Texts = ANY) -> Phrase:
    """Subjects: `the role CLERK`, `the roles A, B`, `ann, bob`, `anyone`."""
    if kind is Kind.ANYONE or not subjects:
        return texts_phrase(names, "anyone", "anyone whose name begins with")
    if kind is Kind.ROLE:
        noun = "the role " if len(subjects) == 1 else "the roles "
        return (noun, *names_phrase([role_name(name) for name in subjects]))
    return names_phrase(list(subjects))


def is_many(kind: Kind, subjects: Sequence[str]) -> bool:
    """Whether a sentence about the subjects takes a plural."""
    return kind is not Kind.ANYONE and len(subjects) > 1
