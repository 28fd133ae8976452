"""The verb that talks: chat."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from seqloom.cli.beside import opened
from seqloom.cli.queries import sampler_of
from seqloom.cli.session import (
    FORCE,
    SEED,
    WEIGHTS,
    Session,
    conditions_of,
    positive,
    put,
    put_json,
    say,
    seed_of,
    sort_words,
    verb,
)
from seqloom.core.conversation import SYSTEM
from seqloom.core.errors import ConfigError, DataError, SeqloomError

if TYPE_CHECKING:
    from seqloom.chat import Chat

KEYS = ("sampler", "given")
COMMANDS = {
    "/reset": "begin anew",
    "/save FILE": "write what was said as a line of JSON",
    "/help": "this list; // begins a text with a slash",
    "/exit": "end, as Ctrl-D does; Ctrl-C ends a reply",
}


@verb
def chat(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [key=value]...", show_default=False)] = None,
    system: Annotated[str | None, typer.Option(help="What the system says first.")] = None,
    length: Annotated[int | None, typer.Option(help="Symbols of a reply, at most.")] = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    force: FORCE = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each reply as one line of JSON.")] = False,
) -> None:
    """Talk with a model of conversations.

    Each line, typed or from standard input, is what the user says, and the reply is printed as it is made; /help tells
    what else there is. Settings are sampler.KEY=VALUE, sampler=NAME and given.NAME=VALUE.
    """
    (run,), settings = sort_words(words or [], "chat RUN", KEYS)
    positive(length, "--length")
    model = opened(run, weights, session)
    from seqloom.chat import Chat

    number, given, sampler = seed_of(seed), conditions_of(settings, model.given), sampler_of(model, settings)
    talk = Chat(model, system=system, length=length, seed=number, sampler=sampler, given=given)
    typed = sys.stdin.isatty()
    if system is not None and SYSTEM in model.codec.unheard:
        session.note("training saw no message of the system: what --system says is read, and means nothing learned")
    if seed is None and model.draws(sampler):
        session.note(f"seed {number}")
    if typed:
        session.note("/help tells what there is beside talking")
    unread, saved = 0, set[str]()
    for number, line in _lines(typed):
        try:
            if line.startswith("/") and not line.startswith("//"):
                if not _obeyed(line, talk, session, force, saved):
                    return
                unread = 0
                continue
            _reply(line.removeprefix("/") if line.startswith("//") else line, talk, session, as_json, typed)
        except SeqloomError as error:
            if not typed:  # a script is to know
                if isinstance(error, DataError) and not error.path:
                    error.path, error.line = "standard input", number
                raise
            say(f"error: {error}" + f"\nhint: {error.hint}" * bool(error.hint))
            continue
        if talk.unread and not unread:
            session.note("the oldest messages are more than the model reads, and are left out from here on")
        unread = talk.unread


def _lines(typed: bool) -> Iterator[tuple[int, str]]:
    """What the user says, line by line, with its number; nothing more after Ctrl-C or Ctrl-D at a prompt."""
    if not typed:
        for number, data in enumerate(sys.stdin.buffer, 1):
            if line := data.decode("utf-8", "surrogateescape").strip():
                yield number, line
        return
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            put("\n")
            return
        if line:
            yield 0, line


def _obeyed(line: str, talk: Chat, session: Session, force: bool, saved: set[str]) -> bool:
    """Do what a line that begins with a slash says; False where it is to end.

    A file that was `saved` before in this sitting may be written again, as the dialogue goes on.
    """
    word, _, rest = line.partition(" ")
    if word in {"/exit", "/quit"}:
        return False
    if word == "/reset":
        talk.reset()
    elif word == "/save":
        if not (name := rest.strip()):
            raise ConfigError("which file is meant?", path="/save", hint="/save FILE")
        talk.save(name, force=force or name in saved)
        saved.add(name)
        session.note(f"{name}: {len(talk.conversation)} messages")
    elif word == "/help":
        for command, meaning in COMMANDS.items():
            say(f"{command:12}{meaning}")
    else:
        raise ConfigError(f"there is no command {word!r}", hint=f"{', '.join(COMMANDS)}; // begins a text with a slash")
    return True


def _reply(text: str, talk: Chat, session: Session, as_json: bool, typed: bool) -> None:
    """Print the reply to what the user says, as it is made."""
    pieces = talk.stream(text)
    try:
        for piece in pieces:
            if not as_json:
                put(piece)
    except KeyboardInterrupt:
        if not typed:
            raise
        session.note(" (stopped)")
    finally:
        pieces.close()  # type: ignore[attr-defined]
    if as_json:
        put_json(talk.conversation.messages[-1].plain())
    else:
        put("\n")
