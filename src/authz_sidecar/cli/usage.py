"""What is wrong with a command line, in the words of every other message: the fault, and what to write instead."""

import re
from collections.abc import Sequence

import click
from click.core import ParameterSource

from authz_sidecar.bundle.wording import listed, suggest

# click puts what was typed between straight quotes.
_QUOTED = re.compile(r"'([^']*)'")
_NUMBER = re.compile(r"is not a valid (integer|float)(?: range)?")
_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)", re.DOTALL)


_LONGEST = 80


def _typed(text: str) -> str:
    """What was typed, in backticks and cut; what is not printable is escaped where it is shown."""
    return f"`{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}`"


class UnknownCommandError(click.UsageError):
    """A command is called that does not exist."""

    def __init__(self, name: str, known: Sequence[str], context: click.Context) -> None:
        super().__init__(f"there is no command {_typed(name)}", context)
        self.help = suggest(name, known, f"the commands are {listed(known, 'and')}")


def usage_problem(error: click.UsageError) -> tuple[str, str]:
    """The message of `error` and its remedy, each on one line."""
    context = error.ctx
    path = context.command_path if context is not None else "authz-sidecar"
    see = f"see `{path} --help`"
    if isinstance(error, UnknownCommandError):
        return error.message, error.help
    if isinstance(error, click.NoSuchOption):
        return f"unknown option {_typed(error.option_name)}", _option_guess(error.option_name, context, see)
    if isinstance(error, click.BadOptionUsage):
        if "does not take" in error.message:
            return f"{_typed(error.option_name)} takes no value", f"write {_typed(error.option_name)} alone"
        return f"{_typed(error.option_name)} has no value", f"write one after it: `{error.option_name} VALUE`"
    if isinstance(error, click.MissingParameter):
        otherwise = f"it is called as `{_usage(context)}`"
        return f"{_name(error.param)} is missing", _option_help(error.param) or otherwise
    if isinstance(error, click.BadParameter):
        return _value_problem(error, see)
    extra = _EXTRA.fullmatch(error.message)
    if extra:
        return f"nothing takes the argument {_typed(extra[1])}", f"it is called as `{_usage(context)}`"
    return _plain(error.message), see


def _option_guess(name: str, context: click.Context | None, otherwise: str) -> str:
    if context is None:
        return otherwise
    known = [option for parameter in context.command.get_params(context) for option in parameter.opts]
    if isinstance(context.command, click.Group):
        # Who asks for `--version` means the command.
        otherwise = suggest(name.lstrip("-"), context.command.list_commands(context), otherwise)
    return suggest(name, [option for option in known if option.startswith("--")], otherwise)


def _value_problem(error: click.BadParameter, see: str) -> tuple[str, str]:
    parameter = error.param
    name = _name(parameter)
    if isinstance(error.param_hint, str):
        name = _typed(error.param_hint.strip("'"))
    if (
        parameter is not None
        and error.ctx is not None
        and isinstance(parameter.envvar, str)
        and error.ctx.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
    ):
        name = _typed(parameter.envvar)
    found = _QUOTED.match(error.message)
    if parameter is not None and isinstance(parameter.type, click.Choice) and found:
        choices = [str(choice) for choice in parameter.type.choices]
        return f"{name} cannot be {_typed(found[1])}", suggest(found[1], choices, f"write {listed(choices)}")
    return f"{name}: {_plain(error.message)}", _option_help(parameter) or see


def _option_help(parameter: click.Parameter | None) -> str:
    """The first sentence about an option that takes a value; "" for all else."""
    if not isinstance(parameter, click.Option) or not parameter.metavar or not parameter.help:
        return ""
    return f"`{max(parameter.opts, key=len)} {parameter.metavar}`: {_plain(parameter.help.partition('. ')[0])}"


def _name(parameter: click.Parameter | None) -> str:
    if parameter is None:
        return "a value"
    if isinstance(parameter, click.Argument):
        return f"the argument {_typed(parameter.make_metavar(click.get_current_context(silent=True) or _NOWHERE))}"
    return _typed(max(parameter.opts, key=len))


_NOWHERE = click.Context(click.Command("authz-sidecar"))


def _usage(context: click.Context | None) -> str:
    if context is None:
        return "authz-sidecar COMMAND"
    return f"{context.command_path} {' '.join(context.command.collect_usage_pieces(context))}"


def _plain(message: str) -> str:
    """A sentence of click's as ours are: one line, lower case, without a final stop, quotes as backticks."""
    text = _QUOTED.sub(r"`\1`", " ".join(message.split())).rstrip(".")
    text = _NUMBER.sub(lambda found: "is no whole number" if found[1] == "integer" else "is no number", text)
    first, _, rest = text.partition(" ")
    # A name in capitals stays as it is.
    return f"{first.lower()} {rest}" if rest and first.isalpha() and first.istitle() else text
