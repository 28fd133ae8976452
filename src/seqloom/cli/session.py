"""What all commands share: the options that stand on every verb, where output goes, and how words are read."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.core import durable, machine
from seqloom.core.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec

LITERAL = "\0"
"""Marks words that stood after `--`; no word of a command line can hold it."""
LARGEST_SEED = 2**63

DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; only the CPU is used for now.")]
PRECISION = Annotated[str, typer.Option(help="auto or float32; bf16 is not measured yet.")]
THREADS = Annotated[int | None, typer.Option(help="Threads to compute with; all usable cores unless given.")]
QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
VERBOSE = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show where an unexpected error arose.")]

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
SEED = Annotated[int | None, typer.Option(help="What randomness follows from; a fresh one unless given.")]
WEIGHTS = Annotated[str, typer.Option(help="best (by validation) or last.")]


@dataclass(frozen=True)
class Session:
    """The options of one command that every verb has. Data go to stdout (`put`), all else to stderr (`note`)."""

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    quiet: bool = False
    verbose: bool = False

    def note(self, text: str) -> None:
        """Something worth knowing."""
        if not self.quiet:
            say(text)

    def detail(self, text: str) -> None:
        """Something for who wants to know all."""
        if self.verbose and not self.quiet:
            say(text)

    def check(self) -> None:
        """ConfigError where an option asks for what there is not."""
        if self.precision not in {"auto", "float32", "bf16"}:
            raise ConfigError(
                f"{self.precision!r} is not a precision", path="--precision", hint="one of: auto, float32, bf16"
            )
        if self.precision == "bf16":
            raise ConfigError(
                "bf16 is not used before this machine has been measured, which is not possible yet",
                path="--precision",
                hint="leave it out: float32 is used",
            )
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"{self.threads} threads cannot compute", path="--threads", hint="give 1 or more")
        if self.device not in {"auto", "cpu"} and machine.choose_device(self.device).type != "cpu":
            raise ConfigError(
                f"{self.device} was asked for, but only the CPU is used for now",
                path="--device",
                hint="leave it out, or --device cpu",
            )

    def compute(self) -> None:
        """Make this process ready to compute: allocator and threads. To be called before anything imports torch."""
        machine.tune_allocator()
        machine.tune_waiting()
        import torch

        threads = machine.threads_for(self.threads)
        if self.threads is not None and threads < self.threads:
            self.note(f"{threads} threads are used, not {self.threads}: as many as can run here at once")
        torch.set_num_threads(threads)


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """A function `f(session, ...)` as a command: the options of every verb become its session."""
    shared = {
        "device": (DEVICE, "auto"),
        "precision": (PRECISION, "auto"),
        "threads": (THREADS, None),
        "quiet": (QUIET, False),
        "verbose": (VERBOSE, False),
    }

    @functools.wraps(function)
    def command(**values: Any) -> None:
        session = Session(**{name: values.pop(name) for name in shared})
        session.check()
        with quiet_pipe():
            function(session, **values)

    signature = inspect.signature(function, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "session"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    command.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *more]}
    return command


# ---- output ---------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def put(data: bytes | str) -> None:
    """Data on stdout, as they are, at once."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _to_nowhere()
        raise RunError(f"standard output cannot be written: {error.strerror}", hint="see where it leads") from None


def put_json(value: Any) -> None:
    """One JSON value on stdout; what is no number becomes null."""
    put(durable.json_bytes(durable.finite(value)))


def put_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> None:
    """Rows of words on stdout, the first as heads; columns in `left` begin together, the others end together."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        put("  ".join(cells).rstrip() + "\n")


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """Whoever reads stdout may stop reading: then the rest is written to nowhere, and that is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere()
        raise typer.Exit(0) from None


def _to_nowhere() -> None:
    """What is still in the buffer of stdout, and all that follows, is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


# ---- words ----------------------------------------------------------------------------------------------------------

_SETTING = re.compile(r"([A-Za-z_]\w*)(\.\w+)*=", re.ASCII)


def sort_words(words: Sequence[str], names: str, keys: Collection[str] | None = None) -> tuple[list[str], list[str]]:
    """The words of a command line that are arguments, and those that are settings, wherever these stand.

    Args:
        words: All of them; those after `--` are marked and never settings.
        names: The verb and its arguments as help has them, such as "forecast RUN [FILE]"; ConfigError unless the
            number of arguments is right.
        keys: What a setting may begin with; None: anything.
    """
    plain: list[str] = []
    settings: list[str] = []
    for word in words:
        found = _SETTING.match(word)
        (settings if found and (keys is None or found[1] in keys) else plain).append(word)
    wanted = names.split()[1:]
    least = sum(not name.startswith("[") for name in wanted)
    if len(plain) < least:
        raise ConfigError(f"{wanted[len(plain)]} is missing", hint=f"seqloom {names}")
    if len(plain) > len(wanted) and not names.endswith("..."):
        extra = plain[len(wanted)].removeprefix(LITERAL)
        setting = _SETTING.match(extra) is not None
        told = f"settings here begin with {' or '.join(sorted(keys or ()))}" if setting else "quote a text with spaces"
        raise ConfigError(f"{extra[:60]!r} is one word too many", hint=f"seqloom {names} ({told})")
    return plain, settings


def path_of(word: str) -> str:
    """A word that names a file or a run."""
    return word.removeprefix(LITERAL)


def value_of(word: str, codec: Codec) -> Any:
    """What a word stands for: a text as typed, `@FILE`, or `-` for standard input; `@@` begins a literal `@`."""
    if word == "-":
        return typed_in(codec)
    text = word.removeprefix(LITERAL)
    if text.startswith("@@"):
        return codec.typed(text[1:])
    if text.startswith("@"):
        path = Path(text[1:])
        if not path.exists():
            hint = "see that the path is right; - in its place reads standard input"
            raise DataError("there is no such file", path=path, hint=hint)
        return codec.whole(path)
    return codec.typed(text)


def typed_in(codec: Codec) -> Any:
    """What comes by standard input."""
    from seqloom.corpora import shards

    place = shards.spool(sys.stdin.buffer)
    try:
        return codec.whole(place)
    except DataError as error:
        error.path = "standard input"
        raise
    finally:
        place.unlink(missing_ok=True)


def conditions_of(settings: Sequence[str], codecs: Mapping[str, Codec]) -> dict[str, Any]:
    """The conditions among settings, `given.NAME=VALUE|@FILE`, as values of their codecs."""
    from seqloom.core.config import nearest
    from seqloom.core.errors import UnsupportedQuery

    found = {}
    for word in settings:
        key, _, text = word.partition("=")
        head, _, name = key.partition(".")
        if head != "given":
            continue
        if name not in codecs:
            hint = nearest(name, codecs) if codecs else "leave it out: the model was trained without conditions"
            raise UnsupportedQuery(f"the model has no condition {name!r}", hint=hint)
        found[name] = value_of(text, codecs[name])
    return found


def seed_of(seed: int | None) -> int:
    """The seed of a command: the one that was given, else a fresh one."""
    if seed is None:
        return int.from_bytes(os.urandom(4), "little")
    if not 0 <= seed < LARGEST_SEED:
        raise ConfigError(f"{seed} is no seed", path="--seed", hint="a whole number, 0 or more")
    return seed


def positive(value: int | float | None, option: str) -> None:
    """ConfigError where a number is not above 0."""
    if value is not None and not value > 0:
        raise ConfigError(f"{value} is not above 0", path=option, hint="give a larger number, or leave it out")
