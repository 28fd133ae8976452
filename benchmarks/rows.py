"""What benchmarks of many rows share: their options, and results that are kept so that a later sitting goes on."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqloom.core import machine

RESULTS = Path(__file__).parent / "results"


def parser_of(doc: str | None, name: str, example: str) -> argparse.ArgumentParser:
    """The options of every such benchmark; `example` is the name of a row."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"rows whose names, or a part of them, begin so, such as {example}")
    parser.add_argument("--keep", type=kept_folder, default=f"{name}-runs", help="where data and runs go")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="where finished rows are kept")
    return parser


def kept_folder(name: str) -> Path:
    """A folder, made where it is not there yet."""
    path = Path(name).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


class Rows:
    """Finished rows by their names, in a file that is written after each of them.

    Each is kept with the machine and its load, and with `facts` of the sitting, such as the seconds of R.
    """

    def __init__(self, options: argparse.Namespace, **facts: Any) -> None:
        self.path, self.only = options.out, options.only
        self.record: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {"rows": {}}
        self.facts = facts

    @property
    def finished(self) -> dict[str, Any]:
        """What is measured so far, by name."""
        rows: dict[str, Any] = self.record["rows"]
        return rows

    def asked(self, name: str) -> bool:
        """Whether a row is one of those asked for."""
        return any(part.startswith(self.only) for part in (name, *name.split("/")))

    def fill(
        self,
        name: str,
        measure: Callable[[], dict[str, Any]],
        shown: Callable[[dict[str, Any]], object] = dict,
        *,
        always: bool = False,
    ) -> None:
        """Measure a row that is missing and asked for, or needed `always`; keep it, and say what is `shown` of it."""
        if name in self.finished or not (always or self.asked(name)):
            return
        row = measure()
        self.finished[name] = self.facts | row | {"load": os.getloadavg()[1], "machine": machine.record()}
        self.path.write_text(json.dumps(self.record, indent=1) + "\n")
        say(f"{name} {shown(row)}")


def seqloom_json(*words: str) -> dict[str, Any]:
    """What a command of ours prints with --json."""
    done = subprocess.run([sys.executable, "-m", "seqloom", *words, "--json"], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cells(*values: object) -> str:
    """A row of a table."""
    return "| " + " | ".join(str(value) for value in values) + " |"


def say(what: object) -> None:
    """To whoever watches."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()
