"""What all commands share: the options that stand on every verb, where output goes, and how words are read."""

from __future__ import annotations

import functools
import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from seqloom.core import durable, machine
from seqloom.core.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    import torch

    from seqloom.codecs.base import Codec
    from seqloom.core.outputs import OutputFile

LITERAL = "\0"
"""Marks words that stood after `--`; no word of a command line can hold it."""

DEVICE = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")]
THREADS = Annotated[int | None, typer.Option(help="Threads to compute with; all usable cores unless given.")]
QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
VERBOSE = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show where an unexpected error arose.")]

FORCE = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
SEED = Annotated[int | None, typer.Option(help="What randomness follows from; a fresh one unless given.")]
WEIGHTS = Annotated[str, typer.Option(help="best (by validation) or last.")]


@dataclass(frozen=True)
class Session:
    """The options of one command that every verb has. Data go to stdout (`put`), all else to stderr (`note`)."""

    device: DEVICE = "auto"
    threads: THREADS = None
    quiet: QUIET = False
    verbose: VERBOSE = False

    def note(self, text: str) -> None:
        """A line on stderr, unless `--quiet` is set."""
        if not self.quiet:
            say(text)

    def detail(self, text: str) -> None:
        """A line on stderr where `--verbose` is set."""
        if self.verbose and not self.quiet:
            say(text)

    def wrote(self, file: OutputFile, data: bytes, what: str = "") -> None:
        """Write what a person asked for into its file, and say where it is: "20 answers: answers.txt"."""
        through = file.through
        file.write(data)
        if not through:
            self.note(f"{what}: {file.path}" if what else str(file.path))

    def check(self) -> None:
        """ConfigError where an option has a value that cannot be used."""
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"{self.threads} threads cannot compute", path="--threads", hint="give 1 or more")
        if self.device not in {"auto", "cpu"}:
            machine.choose_device(self.device)

    @property
    def place(self) -> torch.device:
        """The device to compute on; imports torch."""
        return machine.choose_device(self.device)

    def compute(self) -> None:
        """Make this process ready to compute: allocator, threads and rounding. Before anything else imports torch."""
        machine.tune_allocator()
        machine.tune_waiting()
        machine.flush_denormals()
        import torch

        threads = machine.threads_for(self.threads)
        if self.threads is not None and threads < self.threads:
            self.note(f"{threads} threads are used, not {self.threads}: as many as can run here at once")
        torch.set_num_threads(threads)


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """A function `f(session, ...)` as a command.

    Where a parameter is a record, each field of it is an option: those of the session stand last, on every verb, and
    those of other records where the parameter does.
    """
    signature = inspect.signature(function, eval_str=True)
    parameters = sorted(signature.parameters.values(), key=lambda parameter: parameter.name == "session")
    records = {one.name: _options_of(one.annotation) for one in parameters if is_dataclass(one.annotation)}

    @functools.wraps(function)
    def command(**values: Any) -> None:
        made = {
            name: signature.parameters[name].annotation(**{option.name: values.pop(option.name) for option in options})
            for name, options in records.items()
        }
        made["session"].check()
        with quiet_pipe():
            function(**made, **values)

    own = [option for one in parameters for option in records.get(one.name, [one])]
    for one in own:
        _named(one.annotation)
    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    command.__annotations__ = {option.name: option.annotation for option in own}
    return command


class Verb(typer.core.TyperCommand):
    """A command whose usage has its arguments as people write them."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [str(one.metavar) for one in self.params if one.param_type_name == "argument"]
        return [*arguments, "[OPTIONS]"]


NAMES = {int: "N", float: "NUMBER", str: "TEXT"}
"""What help calls the value of an option that has no name of its own."""


def _named(annotation: Any) -> None:
    """Name the value of an option by its type; an argument stands in the usage, and needs no line of its own."""
    kind, *infos = get_args(annotation)
    kinds = [one for one in get_args(kind) or (kind,) if one is not type(None)]
    kinds = list(get_args(kinds[0])) or kinds
    for info in infos:
        if isinstance(info, typer.models.ArgumentInfo):
            info.hidden = True
        elif isinstance(info, typer.models.OptionInfo) and info.metavar is None and kinds[0] in NAMES:
            info.metavar = NAMES[kinds[0]]


def _options_of(record: Any) -> list[inspect.Parameter]:
    """The fields of a record as parameters of a command."""
    kinds = get_type_hints(record, include_extras=True)
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=kinds[one.name],
        )
        for one in fields(record)
    ]


# ---- output ---------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A line on stderr."""
    if sys.stderr is not None:  # closed: print would take stdout
        print(text, file=sys.stderr, flush=True)


def put(data: bytes | str) -> None:
    """Data on stdout, as they are, at once."""
    if sys.stdout is None:
        raise RunError("standard output is closed", hint="leave out what closes it (>&-), or name a file with --out")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
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
    """A reader of stdout that stops reading is no error: the rest of the output is dropped."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        raise typer.Exit(0) from None


def _discard_output() -> None:
    """Drop what is still in the buffer of stdout, and all that follows."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


# ---- words ----------------------------------------------------------------------------------------------------------

_SETTING = re.compile(r"([A-Za-z_]\w*)(\.\w+)*=", re.ASCII)


OF_TRAINING = ("backbone", "codec", "corpus", "feed", "process", "trainer")
"""What settings begin with that only a training has."""


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
        match = _SETTING.match(word)
        (settings if match and (keys is None or match[1] in keys) else plain).append(word)
    wanted = names.split()[1:]
    for word, name in zip(plain, wanted, strict=False):
        match = _SETTING.match(word) if keys is not None and name in {"[FILE]", "FILE|-"} else None
        if match and match[1] in OF_TRAINING and "." in match[0] and not Path(word).exists():
            key = word.partition("=")[0]
            own = " or ".join(sorted(keys or ()))
            raise ConfigError(
                f"{key} is a setting of the training", hint=f"settings here begin with {own}; the run keeps all others"
            )
    least = sum(not name.startswith("[") for name in wanted)
    if len(plain) < least:
        raise ConfigError(f"{wanted[len(plain)]} is missing", hint=f"seqloom {names}")
    if len(plain) > len(wanted) and not names.endswith("..."):
        extra = plain[len(wanted)].removeprefix(LITERAL)
        setting = _SETTING.match(extra)
        explanation = "quote a text with spaces" if " " not in extra else ""
        if setting:
            explanation = f"settings here begin with {' or '.join(sorted(keys or ()))}"
            explanation += (
                f", such as sampler.{extra[:60]}" if "sampler" in (keys or ()) and "." not in setting[0] else ""
            )
        usage = f"seqloom {names} ({explanation})" if explanation else f"seqloom {names}"
        raise ConfigError(f"{extra[:60]!r} is one word too many", hint=usage)
    return plain, settings


def command(*words: object) -> str:
    """A command line of seqloom that can be pasted into a shell."""
    return shlex.join(["seqloom", *map(str, words)])


def path_of(word: str) -> str:
    """A word that names a file or a run."""
    return word.removeprefix(LITERAL)


def run_folder(word: str) -> Path:
    """The folder of the run that a word names; RunError where there is none, with the nearest one. Needs no torch."""
    from difflib import get_close_matches

    from seqloom import run as runs

    path = Path(path_of(word))
    if not runs.exists(path):
        known = {folder.name: folder for folder in reversed(runs.folders(Path("runs")))}
        near = [known[name] for name in get_close_matches(path.name, known, n=1)]
        hint = "`seqloom runs` lists the runs here; `seqloom train DATA --out DIR` makes one"
        raise RunError(
            f"{path} is not a run" if path.exists() else f"there is no run at {path}",
            hint=f"did you mean {near[0]}?" if near and not path.exists() else hint,
        )
    return path


def check_exists(data: str, corpus: Mapping[str, Any] | str | None = None) -> None:
    """DataError where a DATA word names a file or folder that is not there; before anything imports torch."""
    if data != "-" and ":" not in data and not Path(data).exists():
        from seqloom.corpora.files import corpus_of

        corpus_of(data, corpus)  # says it, with the nearest name


def value_of(word: str, codec: Codec) -> Any:
    """The value of a word: a text as typed, `@FILE`, or `-` for standard input; `@@` begins a literal `@`."""
    if word.startswith(LITERAL):
        return codec.typed(path_of(word))
    if word.startswith("@@"):
        return codec.typed(word[1:])
    return content_of(word, codec) if word == "-" or word.startswith("@") else codec.typed(word)


def content_of(word: str, codec: Codec) -> Any:
    """The content of the file FILE or @FILE, or of standard input (`-`)."""
    if word == "-":
        return typed_in(codec)
    check_file(word)
    return codec.only(Path(path_of(word.removeprefix("@"))))


def several_of(word: str, codec: Codec) -> list[Any]:
    """All things that a file holds, or standard input."""
    if word == "-":
        return [typed_in(codec)]
    check_file(word)
    return codec.several(Path(path_of(word.removeprefix("@"))))


def tried_of(word: str, codec: Codec) -> list[Any]:
    """The same, with what is wrong in place of each thing that is bad."""
    return several_of(word, codec) if word == "-" else list(codec.tried(Path(path_of(word))))


def check_file(word: str) -> None:
    """DataError where FILE or @FILE is not there; verbs ask before they load a model, which takes seconds."""
    path = Path(path_of(word.removeprefix("@")))
    if word != "-" and not path.exists():
        hint = "see that the path is right; - in its place reads standard input"
        raise DataError("there is no such file", path=path, hint=hint)


def meant(word: str, run: str) -> str:
    """The word, or @FILE where it names a file of numbers such as a run has; an error where @FILE is not there.

    ConfigError where the words might be meant as they stand.
    """
    if word.startswith("@"):
        if not word.startswith("@@"):
            check_file(word)
        return word
    if not is_file(word):
        return word
    from seqloom import run as runs
    from seqloom.corpora.readers import kind_of

    kind = kind_of(Path(word))
    if kind is not None and not kind.reads_anything:  # of a text there is no need to read the run, which takes seconds
        codec = runs.read(run_folder(run)).codec
        if not codec.space.symbolic and word.endswith(codec.suffixes):  # such a name is no table and no drawing
            return f"@{word}"
    raise ConfigError(
        f"{word!r} is the name of a file: is its content meant, or these very words?",
        hint=f"for its content {shlex.quote(f'@{word}')}, for the words -- {shlex.quote(word)}",
    )


def is_file(word: str) -> bool:
    """Whether a word, as it stands, is the name of a file."""
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # too long for a name; marked by LITERAL
        return False


def typed_in(codec: Codec) -> Any:
    """The value that standard input holds."""
    from seqloom.corpora import shards

    path = shards.spool(sys.stdin.buffer)
    try:
        return codec.only(path)
    except DataError as error:
        error.path = "standard input"
        raise
    finally:
        path.unlink(missing_ok=True)


def conditions_of(settings: Sequence[str], codecs: Mapping[str, Codec]) -> dict[str, Any]:
    """The conditions among settings, `given.NAME=VALUE|@FILE`, as values of their codecs."""
    from seqloom.core.config import nearest
    from seqloom.core.errors import UnsupportedQuery

    conditions = {}
    for word in settings:
        key, _, text = word.partition("=")
        head, _, name = key.partition(".")
        if head != "given":
            continue
        if name not in codecs:
            hint = nearest(name, codecs) if codecs else "leave it out: the model was trained without conditions"
            raise UnsupportedQuery(f"the model has no condition {name!r}", hint=hint)
        if text.endswith(codecs[name].suffixes) and is_file(text):
            raise ConfigError(
                f"{text!r} is the name of a file", path=key, hint=f"its content is {shlex.quote(f'{key}=@{text}')}"
            )
        conditions[name] = value_of(text, codecs[name]) if text.strip() else None
        if conditions[name] is None or not codecs[name].size(conditions[name]):
            hint = f"without {key}=... the model makes what it learned for no {name}"
            raise ConfigError("nothing is given", path=key, hint=hint)
    return conditions


def seed_of(seed: int | None) -> int:
    """The seed of a command: the one that was given, else a fresh one."""
    if seed is None:
        return int.from_bytes(os.urandom(4), "little")
    return checked_seed(seed)


def checked_seed(seed: int) -> int:
    """The same seed; ConfigError where it is none."""
    from seqloom.core import rng

    return rng.checked_seed(seed, "--seed")


def positive(value: int | float | None, option: str) -> None:
    """ConfigError where a number is not above 0."""
    if value is not None and not value > 0:
        raise ConfigError(f"{value} is not above 0", path=option, hint="give a larger number, or leave it out")
