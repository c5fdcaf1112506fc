"""``boundprobe VERB ...``: dispatch to the verb, and turn errors into one line and an exit code.

0 done; 1 a claim or check failed; 2 usage or configuration; 3 a missing optional dependency or device;
4 a run directory holds another configuration or is damaged; 5 an unexpected error; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from boundprobe.cli.options import TASK_NAME
from boundprobe.cli.parser import OneLineParser
from boundprobe.errors import TERMINATED, Terminated, describe_error
from boundprobe.tasks.custom.consent import consenting
from boundprobe.termination import has_checkpoint, terminable
from boundprobe.text import logging_lines, one_line, printable
from boundprobe.version import __version__

#: One module of boundprobe.cli per verb; each has HELP, add_arguments(parser) and run(args) -> exit code.
VERBS = ("demo", "bounds", "size", "construct", "sample", "train", "sweep", "probe", "plot", "doctor")


def build_parser() -> OneLineParser:
    """The parser of the whole command line.  Verb modules import what is heavy when they run, not before."""
    parser = OneLineParser(
        prog="boundprobe",
        description="Memory lower bounds for sequence models, from the proof to the trained model and back.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=OneLineParser)
    for name in VERBS:
        module = importlib.import_module(f"boundprobe.cli.{name}")
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run, verb_parser=verb)
        verb.siblings = verbs.choices
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    verbose = "-v" in given or "--verbose" in given
    try:
        with logging_lines(verbose=verbose), terminable():
            return _run(given)
    except KeyboardInterrupt:
        return _failed(f"interrupted; {_kept(given)}", 130)
    except Terminated:
        return _failed(f"terminated; {_kept(given)}", TERMINATED)
    except BrokenPipeError:  # the reader of stdout has gone, as in `boundprobe bounds | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if verbose:
            print(printable(traceback.format_exc(), keep="\n"), end="", file=sys.stderr)
        return _failed(*describe_error(error))


def _run(argv: Sequence[str]) -> int:
    parser = build_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        getattr(args, "verb_parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if args.version:
        print(f"boundprobe {__version__}")
        return 0
    if args.verb is None:
        parser.error(f"a verb must be given, one of {', '.join(VERBS)}; got none. Try 'boundprobe --help'.")
    given = vars(args)
    named = [given[TASK_NAME]] if TASK_NAME in given else []
    with consenting(*named, everything=given.get("trust", False)):
        try:
            return int(args.run(args))
        except Terminated:
            raise
        except SystemExit as error:  # of a user's own task: it would end the command without a word
            raise ValueError(f"a task must not end the program; got sys.exit({error.code!r}) from it.") from None


def _kept(argv: Sequence[str]) -> str:
    """A sentence on what an ended command has kept, and on what the same command would do."""
    verb = next((word for word in argv if word in VERBS), None)
    if has_checkpoint():
        return "repeat the command to resume from the last checkpoint"
    if verb == "train":
        return "there was no checkpoint yet, so the same command starts from the beginning"
    if verb in ("sweep", "demo"):
        return "runs that are finished or have a checkpoint are kept, and the same command goes on with the rest"
    if verb in ("probe", "plot"):
        return f"{verb} keeps no checkpoint, so the same command measures again what was not finished"
    return "nothing was kept, so the same command starts from the beginning"


def _failed(message: str, exit_code: int) -> int:
    print(f"boundprobe: {one_line(message, 4000)}", file=sys.stderr)
    return exit_code
