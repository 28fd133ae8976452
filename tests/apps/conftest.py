"""A terminal to run commands in, and a few small runs that all tests of the command line share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from seqloom.cli.main import run
from terminal import TEXT, TINY, Done, Examples, series


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """Ctrl-C is heeded: a shell that starts the tests behind itself has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def seqloom(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    def command(*words: object) -> Done:
        capfdbinary.readouterr()
        code = run([str(word) for word in words])
        out, err = capfdbinary.readouterr()
        return Done(code, out, err.decode())

    return command


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("cli")
    made = Examples(folder, folder / "fox.txt", folder / "load.csv")
    made.text.write_text(TEXT)
    made.table.write_text(series(400))
    for name, data, model in [
        ("lstm", made.text, "lstm"),
        ("masked", made.text, "masked"),
        ("gaussian", made.table, "gaussian"),
        ("series", made.table, "gru"),
    ]:
        assert run(["train", str(data), "--model", model, "--out", str(made.run(name)), *TINY]) == 0
    return made


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
