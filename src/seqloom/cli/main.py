"""The command line: `main` runs one verb, and turns what goes wrong into one line, a hint, and an exit code.

0 done, 2 the user's mistake, 1 ours, 3 a model of a comparison failed, 75 stopped but resumable, 130 and 143 stopped by
a signal.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn, TextIO

import typer

from seqloom import __version__
from seqloom.cli import (
    applying,
    chatting,
    classifying,
    comparing,
    evaluating,
    forecasting,
    inspect,
    packing,
    sampling,
    scoring,
    training,
)
from seqloom.cli.session import LITERAL, Session, Verb, put, say, verb
from seqloom.core.errors import ConfigError, DataError, SeqloomError, Unlearned
from seqloom.core.progress import printable

app = typer.Typer(
    name="seqloom",
    help="Train, compare, sample and score generative models of sequences.",
    epilog="`seqloom VERB --help` says more. Settings are written key=value, anywhere after the verb; `seqloom list` "
    "and `seqloom show NAME` tell what there is to set. Exit codes: 0 done, 2 your mistake, 1 ours, 3 a model of a "
    "comparison failed, 75 stopped but resumable, 130 and 143 stopped by a signal.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    suggest_commands=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@verb
def help_of(
    session: Session, name: Annotated[str | None, typer.Argument(metavar="[VERB]", show_default=False)] = None
) -> None:
    """Say how a verb is used, as VERB --help does."""
    app(args=[*([] if name is None else [name]), "--help"], prog_name="seqloom", standalone_mode=False)


VERBS = {
    "demo": comparing.demo,
    "train": training.train,
    "sample": sampling.sample,
    "extend": sampling.extend,
    "infill": sampling.infill,
    "apply": applying.apply,
    "classify": classifying.classify,
    "chat": chatting.chat,
    "forecast": forecasting.forecast,
    "score": scoring.score,
    "evaluate": evaluating.evaluate,
    "compare": comparing.compare,
    "quantize": packing.quantize,
    "list": inspect.list_members,
    "show": inspect.show,
    "runs": inspect.runs,
    "data": inspect.data,
    "doctor": inspect.doctor,
    "help": help_of,
}
ELSEWHERE = {
    "generate": "sample",
    "complete": "extend",
    "impute": "infill",
    "translate": "apply",
    "answer": "apply",
    "predict": "apply` or `seqloom forecast",
    "fit": "train",
    "finetune": "train DATA --from RUN",
    "resume": "train ... --resume",
    "perplexity": "evaluate RUN metrics=[perplexity]",
    "test": "evaluate",
    "benchmark": "compare",
    "report": "compare",
    "prune": "quantize RUN --prune 0.5",
    "info": "show",
    "status": "runs",
}
"""What other programs call it, and how it is asked for here."""

SETTING_OF_DATA = re.compile(r"\b(codec|corpus)(?:\.\w+)+=")
TAKEN = {
    **dict.fromkeys(("train", "data", "compare"), ("codec", "corpus")),
    **dict.fromkeys(("evaluate", "score"), ("corpus",)),
}
"""Which settings of how data are read the verbs take; the others read as the run was trained to."""

for _name, _function in VERBS.items():
    app.command(_name, cls=Verb)(_function)


VERSION = Annotated[bool, typer.Option("--version", help="Print the version.")]


@app.callback(invoke_without_command=True)
def _root(version: VERSION = False) -> None:
    if version:
        put(f"seqloom {__version__}\n")
        raise typer.Exit(0)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run one command, `words` or those of this process, and exit."""
    _open_streams()
    code = run(list(sys.argv[1:] if words is None else words))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more Ctrl-C ends what ends already, and shows no traceback
    sys.exit(code)


def _open_streams() -> None:
    """Open the null device for a standard stream that is closed: else the next file opened would take its number.

    Standard output that is closed is an error as soon as something is written to it (`put`).
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we run
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def run(words: Sequence[str]) -> int:
    """Run one command; its exit code."""
    words = words or ["--help"]
    options = words[: words.index("--")] if "--" in words else words
    verbose = any(re.fullmatch(r"-[a-z]*v[a-z]*|--verbose", word) for word in options)
    literal = [LITERAL + word for word in words[len(options) + 1 :]]
    try:
        with _terminated(), _logged(verbose):
            code = app(args=[*options, *literal], prog_name="seqloom", standalone_mode=False)
        return int(code or 0)
    except SeqloomError as error:
        return _report_error(str(error), _within(_verb(words), error) or _hint_for(error), error.code)
    except typer.TyperException as error:
        return _report_error(*_usage(error, words), 2)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as stop:
        return int(stop.code or 0)
    except MemoryError:
        return _report_error("the memory is used up", "try a smaller feed.batch, feed.window or backbone.width", 1)
    except OSError as error:
        if verbose:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        return _report_error(
            f"{where}{error.strerror or error}", "see that it can be read and written, and is not full", 2
        )
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python wraps one that comes while a class is made
            return 128 + signal.SIGINT
        if verbose:
            traceback.print_exc()
        where = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _report_error(f"unexpected {where}", _blame(error, verbose), 1)


def _report_error(message: str, hint: str, code: int) -> int:
    """Print one line of what is wrong and one of what to do; the exit code."""
    for label, text in (("error", message), ("hint", hint)):
        say(f"{label}: {printable(' '.join(text.split()))}")
    return code


def _verb(words: Sequence[str]) -> str:
    """The verb of a command line; nothing where it has none."""
    return next((word for word in words if word in VERBS), "")


def _within(verb: str, error: SeqloomError) -> str:
    """The hint of an error; where it is a setting of how data are read, and the verb takes none, it is said of whom."""
    setting = SETTING_OF_DATA.search(error.hint) if isinstance(error, DataError) else None
    if setting is None or setting[1] in TAKEN.get(verb, ()):
        return error.hint
    mend = "save it in the encoding of the training file" if ".encoding=" in error.hint else "mend it"
    return f"{mend}, or train anew with a setting: {error.hint}"


def _blame(error: Exception, verbose: bool) -> str:
    """Whose an unexpected error is: the package's, or that of a module which is not."""
    from seqloom.core.foreign import arose_in, at_work

    arose, others = arose_in(error), at_work()
    ours = "a bug in seqloom" if verbose else "a bug in seqloom; -v shows where it arose"
    if arose is None and others:
        names = ", ".join(others[:4]) + (" ..." if len(others) > 4 else "")
        return f"it arose in seqloom, at work with {names}: what a method of those gave may be wrong, or this is {ours}"
    if arose is None:
        return f"this is {ours}"
    file, line = arose
    return f"it arose in {file}, line {line}, which is not seqloom's" + ("" if verbose else "; -v shows the traceback")


def _hint_for(error: SeqloomError) -> str:
    if isinstance(error, ConfigError):
        return "`seqloom VERB --help` shows options, `seqloom show NAME` settings"
    if isinstance(error, DataError):
        return "see that this is the data you mean, and mend or leave out what cannot be read"
    return "`seqloom --help` shows what can be asked"


def _usage(error: typer.TyperException, words: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a command line, and the nearest that would be right."""
    from difflib import get_close_matches

    message = str(getattr(error, "message", "") or error.format_message()).strip()
    verb = _verb(words)
    hint = f"`seqloom {verb} --help` shows how it is used" if verb else f"the verbs: {', '.join(VERBS)}"
    option = getattr(error, "option_name", None)
    if option and message.startswith("No such option"):
        close = get_close_matches(option, getattr(error, "possibilities", None) or (), n=1, cutoff=0.7)
        return f"there is no option {option}", f"did you mean {close[0]}?" if close else hint
    unknown = re.match(r"No such command '(.*)'", message)
    if unknown:
        close = [ELSEWHERE[unknown[1]]] if unknown[1] in ELSEWHERE else get_close_matches(unknown[1], VERBS, n=1)
        near = f"did you mean `seqloom {close[0]}`?" if close else f"the verbs: {', '.join(VERBS)}"
        return f"there is no verb {unknown[1]!r}", near
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}", hint


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends the program by an exception: files are closed, and workers are stopped."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _logged(verbose: bool) -> Iterator[None]:
    """Print what the package logs and warns of on stderr, without a prefix; each warning once."""
    logger = logging.getLogger("seqloom")
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(out)
    before, was = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logger.propagate = False
    said = set[str]()

    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, Unlearned):
            shown(message, category, filename, lineno, file, line)
        elif str(message) not in said:
            said.add(str(message))
            logger.warning("%s", message)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", Unlearned)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(out)
        logger.setLevel(before)
        logger.propagate = was
