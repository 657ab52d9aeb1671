"""One question on the command line: SUBJECT, OBJECT and ACTION, and the options that say more about them."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import click
import msgspec

from authz_sidecar.cli.attribute import collect, parse_attribute
from authz_sidecar.cli.option import section_option
from authz_sidecar.cli.terminal import CommandError, Terminal
from authz_sidecar.values import Request, Violation, build_request

Command = TypeVar("Command", bound=Callable[..., Any])
Pairs = tuple[tuple[str, Any], ...]

# What to do about an invalid part of the request, by the field that `build_request` names.
REMEDIES: dict[str, str] = {
    "subject": "SUBJECT is one identity, such as `alice`",
    "action": "ACTION is one action, such as `read`",
    "object.type": "OBJECT is `type:id` or `type`, such as `folder:42`",
    "object.id": "OBJECT is `type:id` or `type`, such as `folder:42`",
    "object.company": "give `--company` the company's id as the policy spells it",
    "object.owner": "give `--owner` the id of one identity",
    "object.attributes": "give fewer or smaller values with `--attribute`",
    "subject_attributes": "give fewer or smaller values with `--subject-attribute`",
    "context": "give fewer or smaller values with `--context`",
    "checks": "give a smaller `--batch`",
    "minimum_policy_version": "give `--minimum-policy-version` the commit as `git rev-parse` prints it",
    "section": "give `--section` the number that the model's sections end in",
}
TOKEN_PREFIX = "context."
# In the place of the subject of a question that names none, while the rest of it is looked at.
STAND_IN = "--"


class QuestionOptions(TypedDict):
    """What the options of `question_options` give a command."""

    company: str
    owner: str
    attribute: Pairs
    subject_attribute: Pairs
    context: Pairs
    section: str | None


def question_options(command: Command) -> Command:
    """The options of a question."""
    for option in reversed(
        (
            click.option(
                "--company", default="", metavar="C", help="The company (Casbin's domain) the object belongs to."
            ),
            click.option("--owner", default="", metavar="O", help="The identity that owns the object."),
            click.option(
                "--attribute",
                multiple=True,
                type=parse_attribute,
                metavar="K=V",
                help="An attribute of the object. Repeatable.",
            ),
            click.option(
                "--subject-attribute",
                multiple=True,
                type=parse_attribute,
                metavar="K=V",
                help="An attribute of the subject. Repeatable.",
            ),
            click.option(
                "--context",
                multiple=True,
                type=parse_attribute,
                metavar="K=V",
                help="A value of the request's context. Repeatable.",
            ),
            section_option("Decide by the model's sections r<N>, p<N>, e<N> and m<N>."),
        )
    ):
        command = option(command)
    return command


def split_question(words: Sequence[str]) -> tuple[str | None, str, str]:
    """SUBJECT, OBJECT and ACTION; SUBJECT is None where only the others are given. Raises click.UsageError."""
    if len(words) > 3:
        raise click.UsageError(f"Got unexpected extra argument ({' '.join(words[3:])})")
    if len(words) < 2:
        raise click.UsageError("a question is SUBJECT, OBJECT and ACTION")
    *named, object, action = words
    return named[0] if named else None, object, action


def read_question(
    terminal: Terminal, subject: str | None, object: str, action: str, options: QuestionOptions, time: float
) -> Request:
    """The request that was typed, its subject empty where none was; raises CommandError with every violation and its
    remedy."""
    type, _, id = object.partition(":")
    request, violations = build_request(
        STAND_IN if subject is None else subject,
        action,
        type=type,
        id=id,
        company=options["company"],
        owner=options["owner"],
        subject_attributes=collect("--subject-attribute", options["subject_attribute"]),
        object_attributes=collect("--attribute", options["attribute"]),
        context=collect("--context", options["context"]),
        time=time,
        section=options["section"] or "",
    )
    if request is None:
        raise CommandError(terminal, *(violation_problem(violation) for violation in violations))
    return msgspec.structs.replace(request, subject="") if subject is None else request


def violation_problem(violation: Violation) -> tuple[str, str]:
    """A violation and what to type instead."""
    field = violation.field
    if field.startswith(TOKEN_PREFIX):
        return violation.description, f"give it with `--context {field.removeprefix(TOKEN_PREFIX)}=…`"
    return violation.description, REMEDIES.get(field, "")
