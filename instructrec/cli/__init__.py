"""The command line: data, generate, train, evaluate, compare, report, recommend; one file a command.

Answers go to standard output, everything else to standard error. Bad input ends with exit status 2 and one line, an
interruption with 130. A command's file is light to import: pandas and all that is heavier is imported when it runs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from instructrec.cli import compare, data, evaluate, generate, recommend, report, train
from instructrec.cli.common import CommandParser, discard_stdout
from instructrec.errors import InputError

COMMANDS = (data, generate, train, evaluate, compare, report, recommend)
"""Modules of the commands; each has `add_parser(subparsers)` and `run(options)`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: The words after the program's name; those of the process by default.

    Returns:
        0, or 2 for bad input, or 130 where the user interrupted.
    """
    try:
        with contextlib.suppress(AttributeError):
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        options = build_parser().parse_args(arguments)
        options.run(options)
        return 0
    except InputError as error:
        print(f"instructrec: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("instructrec: interrupted; nothing was left half written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        discard_stdout()
        return 0
    except OSError as error:  # such as a folder that may not be read, or a name that is too long
        path = "a file" if error.filename is None else repr(str(error.filename))
        reason = error.strerror or type(error).__name__
        print(
            f"instructrec: error: cannot use {path}: {reason}; give another path that can be read or written",
            file=sys.stderr,
        )
        return 2


def build_parser() -> CommandParser:
    """Return the parser of all commands; its result has the function `run` of the chosen one."""
    parser = CommandParser(
        prog="python -m instructrec", description="Recommendation as instruction following."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser
