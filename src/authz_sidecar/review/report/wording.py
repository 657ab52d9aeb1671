"""What is said about access, in words: phrases whose names are marked, so that each format escapes them its own way."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from authz_sidecar.bundle.wording import counted
from authz_sidecar.review.access.change import SELF
from authz_sidecar.review.report.markup import html_text, markdown_code, markdown_text
from authz_sidecar.values.request import ROLE_PREFIX
from authz_sidecar.values.texts import ANY, Texts, texts
from authz_sidecar.values.visible import visible

# A name that is longer is cut in text and markdown; JSON and HTML have it whole.
LONGEST_NAME = 100
# So many names are listed in text and markdown before the others are counted.
MOST_NAMES = 10
_ONE_WORD = re.compile(r"[\w.@:/+*#$%&=~|\\-]+")


class Name(msgspec.Struct, frozen=True, gc=False):
    """A name that somebody chose (a role, an identity, a company, a value…), as it is."""

    text: str


Phrase: TypeAlias = tuple[str | Name, ...]
"""Words of ours and names, one after the other."""


def plain_phrase(phrase: Phrase) -> str:
    """A phrase for terminals and other plain text, with what is not printable escaped."""
    return "".join(visible(part) if isinstance(part, str) else _plain_name(_cut(part.text)) for part in phrase)


def _plain_name(name: str) -> str:
    """A name among words: in backticks where it could be taken for more than one of them. Its own are escaped, since
    what follows one would be taken for words of ours."""
    shown = visible(name)
    if _ONE_WORD.fullmatch(shown):
        return shown
    escaped = shown.replace("`", r"\x60")
    return f"`{escaped}`"


def markdown_phrase(phrase: Phrase) -> str:
    """A phrase within a line of markdown: names are code."""
    return "".join(markdown_text(part) if isinstance(part, str) else markdown_code(_cut(part.text)) for part in phrase)


def html_phrase(phrase: Phrase) -> str:
    """A phrase as HTML: names are code, and whole."""
    return "".join(
        html_text(part) if isinstance(part, str) else f"<code>{html_text(part.text)}</code>" for part in phrase
    )


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def joined(phrases: Iterable[Phrase], between: str = ", ") -> Phrase:
    """The phrases with `between` between them."""
    parts: list[str | Name] = []
    for number, phrase in enumerate(phrases):
        if number:
            parts.append(between)
        parts.extend(phrase)
    return tuple(parts)


def names_phrase(names: Sequence[str], most: int | None = MOST_NAMES) -> Phrase:
    """The names with commas; beyond `most` (None: all) the others are counted."""
    if most is None or len(names) <= most:
        return joined([(Name(name),) for name in names])
    return (*joined([(Name(name),) for name in names[:most]]), f" and {len(names) - most:,} more")


def role_name(subject: str) -> str:
    """A role as its author named it, without the prefix that rules have."""
    return subject.removeprefix(ROLE_PREFIX)


def texts_phrase(
    of: Texts, every: str, beginning: str = "those beginning with", most: int | None = MOST_NAMES
) -> Phrase:
    """A set of texts: `every` where it is all of them, else its values, its beginnings and what is taken away."""
    if of == ANY:
        return (every,)
    kept: list[Phrase] = []
    if of.values:
        kept.append(names_phrase(sorted(of.values), most))
    if "" in of.prefixes:
        kept.append((every,))
    elif of.prefixes:
        kept.append((f"{beginning} ", *names_phrase(of.prefixes, most)))
    taken: list[Phrase] = []
    if of.except_values:
        taken.append(names_phrase(sorted(of.except_values), most))
    if of.except_prefixes:
        taken.append((f"{beginning} ", *names_phrase(of.except_prefixes, most)))
    if not kept:
        return ("nothing",)
    return joined([joined(kept, " and "), *([joined(taken, " and ")] if taken else [])], " except ")


def company_phrase(company: Texts, most: int | None = MOST_NAMES) -> Phrase:
    """Where: `everywhere`, `in every company`, `on the platform`, `in acme, globex`…"""
    if company == ANY:
        return ("everywhere",)
    inside = company.intersect(texts((), ("",), ("",)))
    if not inside:
        return ("on the platform",)
    phrase: Phrase = ("in ", *_companies(inside, most))
    return ("on the platform and ", *phrase) if "" in company else phrase


def _companies(inside: Texts, most: int | None) -> Phrase:
    """Companies by name; `inside` does not hold the platform."""
    # That the platform is not a company goes without saying.
    less = inside.except_values - {""}
    said = Texts(inside.values, inside.prefixes, less, inside.except_prefixes)
    return texts_phrase(said, "every company", "companies beginning with", most)


def owner_phrase(owner: Texts, most: int | None = MOST_NAMES) -> Phrase:
    """Whose objects, in brackets: `(own)`, `(others')`…; nothing where it is anybody's."""
    if owner == ANY:
        return ()
    own = SELF in owner
    others = Texts(owner.values - {SELF}, owner.prefixes, owner.except_values - {SELF}, owner.except_prefixes)
    if not others:
        return (" (own)",) if own else ()
    if others == ANY:
        return (" (others')",)
    if others.only == "":
        who: Phrase = ("nobody's",)
    elif others == texts((), ("",), ("",)):
        who = ("somebody's",)
    else:
        less = Texts(others.values - {""}, others.prefixes, others.except_values - {""}, others.except_prefixes)
        who = ("owned by ", *texts_phrase(less, "anybody", "owners beginning with", most))
        if "" in others.values:
            who = ("nobody's or ", *who)
        elif "" in others.except_values:
            who = (*who, ", not nobody's")
    if SELF in owner.values:
        return (" (own or ", *who, ")")
    return (" (", *who, ")") if own or not others.prefixes else (" (", *who, ", not own)")


def id_phrase(identifier: Texts, most: int | None = MOST_NAMES) -> Phrase:
    """Which objects, after the type: nothing where it is all of them."""
    if identifier == ANY:
        return ()
    if identifier.only == "":
        return (" without id",)
    if identifier == texts((), ("",), ("",)):
        return (" with an id",)
    less = Texts(identifier.values - {""}, identifier.prefixes, identifier.except_values, identifier.except_prefixes)
    said = texts_phrase(less, "any", "beginning with", most)
    return (" ", *said, " or without id") if "" in identifier.values else (" ", *said)


def people_phrase(identities: Sequence[str], kinds: Mapping[str, str]) -> str:
    """`214 people, 3 service accounts`. What `kinds` (identity to `user` or `service_account`) does not know is an
    identity, or where some are known one of the others."""
    counts = {"user": 0, "service_account": 0, "": 0}
    for identity in identities:
        counts[kinds.get(identity, "")] += 1
    known = counts["user"] or counts["service_account"]
    words = [
        counted(counts["user"], "person", "people"),
        counted(counts["service_account"], "service account"),
        counted(counts[""], *(("other",) if known else ("identity", "identities"))),
    ]
    return ", ".join(word for word, count in zip(words, counts.values(), strict=True) if count) or "no identities"
