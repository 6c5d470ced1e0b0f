"""What the commands share: options, one-line errors and exit statuses."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias

import typer

from medguard.classifier import Classifier
from medguard.errors import InputTooLargeError, InvalidInputError, MedGuardError, PolicyError
from medguard.policy import Policy
from medguard.scan_input import InputFormat

__all__ = [
    "BundleOption",
    "ExitStatus",
    "FormatOption",
    "OperatingPointOption",
    "PolicyOption",
    "fail",
    "load_classifier",
    "one_line_errors",
    "read_policy",
    "read_stdin",
    "refuse_more_texts",
    "say",
]

PolicyOption: TypeAlias = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Policy in YAML; else the default policy.")
]
BundleOption: TypeAlias = Annotated[
    Path | None, typer.Option("--bundle", metavar="DIR", help="Classifier bundle; else the one that ships.")
]
FormatOption: TypeAlias = Annotated[
    InputFormat | None,
    typer.Option("--format", help="Of INPUT; else by its suffix, jsonl for standard input."),
]
OperatingPointOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--operating-point", metavar="NAME", help="strict, balanced or permissive; over the policy's."
    ),
]


class ExitStatus(IntEnum):
    """Exit statuses that all commands keep to."""

    OK = 0
    BLOCKED = 1
    """``check``: not allowed. ``scan``: complete, but some lines could not be read or judged."""
    ERROR = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """The reader of standard output went away, reported as a shell reports SIGPIPE."""


def say(message: str) -> None:
    """Write one line to standard error."""
    typer.echo(f"medguard: {' '.join(message.split())}", err=True)


def fail(message: str) -> NoReturn:
    """Report an error in one line and exit.

    Raises:
        Exit: Always, with status 2.
    """
    say(message)
    raise typer.Exit(ExitStatus.ERROR)


def refuse_more_texts(context: typer.Context) -> None:
    """Make sure that a command that takes one text got no more words, without quoting them.

    Raises:
        Exit: There are more.
    """
    if context.args:
        count = 1 + len(context.args)
        fail(f"{context.info_name} takes one text, found {count} arguments: put the text in quotes")


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors inside a command into one line on standard error and an exit status.

    Raises:
        Exit: Something went wrong inside.
    """
    try:
        try:
            yield
        finally:
            # Not left to the interpreter's exit: a full disk or a closed pipe is an error like others.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        raise typer.Exit(ExitStatus.BROKEN_PIPE) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(ExitStatus.INTERRUPTED) from None
    except typer.Exit:
        raise
    except MedGuardError as error:
        fail(str(error))
    except OSError as error:
        _abandon_stdout()
        where = "input or output" if error.filename is None else error.filename
        fail(f"cannot use {where}: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a foreign message may quote the user's text
        fail(f"internal error: {type(error).__name__}")


def read_policy(file: Path | None, operating_point: str | None) -> Policy:
    """Read the policy and let the command line's operating point replace the policy's own.

    Raises:
        PolicyError: The file is no policy, or sets thresholds by hand, which `operating_point` cannot move.
    """
    policy = Policy() if file is None else Policy.from_yaml(file)
    if operating_point is None:
        return policy
    if policy.prompt_threshold is not None or policy.response_threshold is not None:
        raise PolicyError(
            "--operating-point cannot move thresholds that the policy sets by hand: leave out one of the two"
        )
    return policy.model_copy(update={"operating_point": operating_point})


def load_classifier(bundle: Path | None) -> Classifier:
    """Load the classifier of `bundle`, or the one that ships.

    Raises:
        BundleError: The bundle is missing, incomplete or altered.
        ProviderError: No inference runtime is installed.
    """
    return Classifier.load(bundle)


def read_stdin(max_chars: int) -> str:
    """Read at most what could be within `max_chars`, so that an endless stream ends in an error.

    Raises:
        InputTooLargeError: It is longer than that.
        InvalidInputError: It is not UTF-8.
    """
    longest_bytes = 4 * max_chars + 4
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(longest_bytes + 1)
    if len(data) > longest_bytes:
        raise InputTooLargeError(f"standard input is over the policy's max_chars of {max_chars}")
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInputError("standard input is not valid UTF-8") from None


def _abandon_stdout() -> None:
    """Let what cannot be written vanish, or Python would complain about it once more at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
