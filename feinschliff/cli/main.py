"""The entry of the command line: finds the verb; the border where every error becomes a message and an exit code.

A verb's module is imported when it is asked for, so that ``--help`` stays fast. Knows no verb but by name.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import tempfile
import traceback
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from feinschliff import __version__, settings
from feinschliff.cli.output import json_on_stdout, print_error
from feinschliff.errors import FeinschliffError, InputError, Interrupted, ResourceError
from feinschliff.lifecycle import interrupts

VERBS = {
    "tune": "From a data file to a verdict: check, split, compare recipes, train, judge once on the test rows.",
    "train": "Train one model; the same command again resumes.",
    "rates": "Suggest a learning rate, with a picture.",
    "evaluate": "Metrics with intervals, per class, calibration and the worst rows.",
    "predict": "The labels of texts, with scores; or what a language model answers.",
    "chat": "Talk with a tuned language model.",
    "export": "Write a run's model as a folder that Hugging Face's classes load.",
    "data": "Check, clean, split, convert and show data.",
    "models": "List, show, pull and verify base models.",
    "runs": "List and show runs.",
    "config": "Check a configuration file; the reference of all fields.",
}
"""Each is a module of this folder with ``app``, a typer application of one command or of several."""


class Verbs(TyperGroup):
    """The group of all verbs; a verb's module is imported when the verb is needed."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs in the order of the lifecycle."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb's command, or None."""
        if cmd_name not in VERBS:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=VERBS[cmd_name])
        module = importlib.import_module(f"feinschliff.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        command.params = [param for param in command.params if param.name not in _COMPLETION_OPTIONS]
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of verbs, without importing them."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb named by the first argument.

        Raises:
            InputError: no verb has that name; the nearest is named.
        """
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1, cutoff=0.5)
            hint = f"did you mean `feinschliff {near[0]}`? " if near else ""
            remedy = f"{hint}verbs: {', '.join(VERBS)}"
            raise InputError(f"unknown verb {args[0]!r}", where="command line", remedy=remedy)
        return super().resolve_command(ctx, args)


_COMPLETION_OPTIONS = ("install_completion", "show_completion")
_app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"feinschliff {__version__}")
        raise typer.Exit


@_app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A pretrained model and your data in; a specialised model with proof that it is better out, or the advice not to.

    Start with: feinschliff tune tickets.csv
    """
    if settings.read().num_ranks > 1 and context.invoked_subcommand not in (None, "train"):
        from feinschliff.lifecycle.several import refuse_several

        refuse_several(context.invoked_subcommand)


def run() -> None:
    """The console script."""
    interrupts.remember()
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main(arguments: list[str]) -> int:
    """Run one command line and return its exit code; no exception leaves, whatever happens."""
    as_json = "--json" in arguments
    with json_on_stdout() if as_json else nullcontext():
        try:
            return _exit_code(_invoke(arguments))
        except FeinschliffError as error:
            failure = error
        except (KeyboardInterrupt, typer.Abort):
            failure = _interrupted()
        except TyperException as error:
            failure = InputError(_sentence(error.format_message()), where="command line", remedy=_help_of(arguments))
        except BrokenPipeError:
            return 1
        except MemoryError:
            failure = _out_of_memory()
        except OSError as error:
            failure = _disk_full(error) if error.errno in (errno.ENOSPC, errno.EDQUOT) else _unexpected(error)
        except Exception as error:
            failure = _unexpected(error)
        here = settings.read()
        process = f"process {here.rank} of {here.num_ranks}: " if here.num_ranks > 1 else ""
        print_error(failure, as_json and here.rank == 0, process)
        return failure.exit_code


def _invoke(arguments: list[str]) -> Any:
    command = typer.main.get_command(_app)
    try:
        result = command.main(args=arguments, prog_name="feinschliff", standalone_mode=False)
    except SystemExit as stop:  # typer's own answer to a closed pipe, and to printing a completion script
        return stop.code
    if result == Interrupted.exit_code:  # typer's own answer to Ctrl-C
        raise _interrupted()
    return result


def _exit_code(result: Any) -> int:
    return result if isinstance(result, int) else 0


def _interrupted() -> Interrupted:
    return Interrupted("the same command again resumes")


def _help_of(arguments: list[str]) -> str:
    verb = arguments[0] if arguments and arguments[0] in VERBS else ""
    return f"see `feinschliff {verb + ' ' if verb else ''}--help`"


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else "wrong usage"


def _out_of_memory() -> FeinschliffError:
    return ResourceError(
        "out of memory",
        why="the machine has no more memory to give",
        remedy="close other programs, or give less at once: --training.micro-batch-tokens, --data.max-rows",
    )


def _disk_full(error: OSError) -> FeinschliffError:
    from feinschliff.store.run_directory import disk_full

    return disk_full(Path(str(error.filename or ".")))


def _unexpected(error: BaseException) -> FeinschliffError:
    """A fault of ours: the traceback goes to a file, the person gets a message."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    text = f"feinschliff {__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n\n" + "".join(
        traceback.format_exception(error)
    )
    try:
        handle, name = tempfile.mkstemp(prefix=f"feinschliff-{stamp}-", suffix=".log")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        kept = f"the details are in {name}"
    except OSError as why:
        kept = f"the details could not be written ({why.strerror})"
    return FeinschliffError(
        f"unexpected {type(error).__name__}: {_first_line(error)}",
        why="this is a fault in feinschliff, not in your input",
        remedy=f"please report it; {kept}",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"
