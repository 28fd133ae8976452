"""The verb that packs a run: quantize."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from seqloom.cli.session import JSON, WEIGHTS, Session, command, put, put_json, run_folder, sort_words, verb
from seqloom.core.errors import ConfigError


@verb
def quantize(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN")] = None,
    to: Annotated[str, typer.Option(help="int8, each row of a matrix with its own scale, or bfloat16.")] = "int8",
    prune: Annotated[float, typer.Option(help="Before, set so large a share of each matrix to 0, the smallest.")] = 0.0,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The new run folder; RUN-int8 or RUN-bfloat16 unless given.")
    ] = None,
    weights: WEIGHTS = "best",
    as_json: JSON = False,
) -> None:
    """Write a run with its weights in fewer bytes, and say what that costs and saves.

    The new run is sampled, scored, evaluated and compared as any other, and cannot be trained on. Zeros that --prune
    makes take as much room and time as other numbers.
    """
    (run,), _ = sort_words(words or [], "quantize RUN", ())
    path = run_folder(run)
    if weights not in {"best", "last"}:
        raise ConfigError(f"{weights!r} are no weights", path="--weights", hint="best or last")
    session.compute()
    from seqloom.network.packing import Precision
    from seqloom.quantizing import quantize as packed_run
    from seqloom.run import WeightsChoice

    found = packed_run(
        path,
        cast(Precision, to),
        out=None if out is None else Path(out),
        weights=cast(WeightsChoice, weights),
        prune=prune,
        notify=session.note,
    )
    if as_json:
        put_json(asdict(found))
        return
    for line in found.in_words:
        session.note(line)
    put(f"{found.run}\n")
    session.note(f"next: {command('sample', found.run)}   {command('evaluate', found.run)}")
