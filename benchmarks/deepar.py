"""Forecasting and training of series beside GluonTS's DeepAR: how long they take, by one thread.

    SEQLOOM_DATA=... python benchmarks/deepar.py [--rounds 5] [--only forecast/lstm] [--keep FOLDER]

Time does not depend on how well a model has learned, so all are trained for a few updates only.

- `forecast/MODEL`: 100 paths of the next 24 hours of seven channels from 12 places of ETTh1, as `seqloom evaluate
  --horizon 24 --windows 12` draws them, by a model whose settings are those of the defaults for 104 seconds; DeepAR
  by its defaults, each channel a series of its own, draws as many from the same histories.
- `training/LAGS`: windows a second of two LSTM layers of 40, 96 hours and the 24 that follow, batches of 32, on the
  hours of the M4; both with lags of 24, 48 and 168, and once more DeepAR with the lags of its defaults.

Both are called in one process (pip install gluonts[torch]), in turn, and the order changes from round to round; the
first round is not counted. Where SEQLOOM_DATA lacks the data, series are made up that are as long. Finished rows are
kept, and a later sitting goes on; where GluonTS is not installed only ours are timed.
"""

from __future__ import annotations

import csv
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rows import Rows, parser_of, say

from seqloom.core import machine

machine.tune_waiting()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from seqloom.fit import Fit  # noqa: E402
from seqloom.metrics.forecast import Backtest  # noqa: E402
from seqloom.model import load  # noqa: E402
from seqloom.planning import plan  # noqa: E402
from seqloom.rolling import Origins, forecast_from, origins_of_run  # noqa: E402

MODELS = ("lstm", "transformer", "gaussian", "flow")
ASKED = Backtest(horizon=24, windows=12, paths=100)
MINUTES = 104 / 60
TRAINED, VALID = 0.74, 0.06
"""Shares of the rows of ETTh1; forecasts begin in the rest."""
CONTEXT, BATCH, LAYERS, WIDTH, LAGS = 96, 32, 2, 40, (24, 48, 168)
WARM, TIMED = 10, 50
"""Updates before the clock starts, and those that are timed."""
GOALS = {"forecast/lstm": 0.25, "forecast/gaussian": 1.0, "training/equal lags": 1 / 3}
"""Our time over DeepAR's, at most."""

Clocks = tuple[float, float]
"""Seconds of the clock and of the processor."""


@dataclass(frozen=True)
class Job:
    """Something to be timed: what it is called on is made before, and it may time itself."""

    run: Callable[[], Clocks]
    parameters: int


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "deepar", "forecast/lstm")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine.tune_allocator()
    warnings.simplefilter("ignore")
    peer = has_peer()
    rows = Rows(options, rounds=options.rounds, gluonts=peer or "not installed")
    series = Series(options.keep)
    pairs: dict[str, Callable[[], tuple[Job, Callable[[], Job]]]] = {}
    for model in MODELS:
        pairs[f"forecast/{model}"] = partial(series.forecasting, model)
    for name, lags in {"equal lags": LAGS, "default lags": None}.items():
        pairs[f"training/{name}"] = partial(series.training, lags)

    def row(pair: Callable[[], tuple[Job, Callable[[], Job]]]) -> dict[str, Any]:
        ours, theirs = pair()
        return measured(ours, theirs() if peer else None, options.rounds)

    for name, pair in pairs.items():
        if peer and rows.asked(name) and "peer" not in rows.finished.get(name, {}):
            rows.finished.pop(name, None)  # of a sitting without GluonTS
        rows.fill(name, partial(row, pair))
    say(table(rows.finished))


def has_peer() -> str:
    """The release of GluonTS that is installed, if any."""
    try:
        import gluonts
        import gluonts.torch
    except ImportError:
        return ""
    return f"GluonTS {gluonts.__version__}"


def measured(ours: Job, theirs: Job | None, rounds: int) -> dict[str, Any]:
    """Medians of the rounds, and of the ratios within them."""
    sides = {"ours": ours} | ({} if theirs is None else {"peer": theirs})
    found: dict[str, list[Clocks]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            clocks = sides[name].run()
            if turn:
                found[name].append(clocks)
    row: dict[str, Any] = {
        name: {
            "seconds": statistics.median(wall for wall, _ in found[name]),
            "cpu": statistics.median(cpu for _, cpu in found[name]),
            "parameters": job.parameters,
        }
        for name, job in sides.items()
    }
    if theirs is not None:
        for place, kind in enumerate(("ratio", "cpu_ratio")):
            both = zip(found["ours"], found["peer"], strict=True)
            each = [own[place] / other[place] for own, other in both]
            row |= {kind: statistics.median(each), f"{kind}_least": min(each), f"{kind}_most": max(each)}
    return row


def clocked(job: Callable[[], object]) -> Clocks:
    """How long a job takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


# ---- data and jobs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """The two data sets, as files, and what is timed on them."""

    keep: Path

    @cached_property
    def etth1(self) -> Path:
        """Seven hourly channels with dates."""
        path = self._given("ett/ETTh1.csv")
        return path or written(self.keep / "channels.csv", lines_of_channels(17_420, 7))

    @cached_property
    def m4(self) -> Path:
        """Several hundred hourly series, one a line."""
        path = self._given("m4_hourly/Hourly-train.csv")
        return path or written(self.keep / "hourly.csv", lines_of_series(414, 960))

    def _given(self, name: str) -> Path | None:
        root = os.environ.get("SEQLOOM_DATA")
        return path if root and (path := Path(root) / name).exists() else None

    def forecasting(self, word: str) -> tuple[Job, Callable[[], Job]]:
        """Forecasts of ETTh1 by a model of ours, and what makes those of DeepAR."""
        splits = [TRAINED, VALID, round(1 - TRAINED - VALID, 5)]
        settings = {
            "trainer": {"minutes": MINUTES},
            "feed": {"horizon": ASKED.horizon},
            "corpus": {"splits": splits},
        }
        run = trained(str(self.etth1), settings, word, self.keep / f"forecast-{word}")
        model = load(run)
        assert model.run is not None
        origins = origins_of_run(model.run, None, "test", ASKED)

        def forecast() -> None:
            made = forecast_from(model, origins, ASKED)
            assert [one.shape for one in made] == [(ASKED.paths, *one.truth.shape) for one in origins.each]

        return Job(lambda: clocked(forecast), model.network.parameter_count), lambda: deepar_forecasts(origins)

    def training(self, lags: Sequence[int] | None) -> tuple[Job, Callable[[], Job]]:
        """Updates on the hours of the M4 by an LSTM of ours, and those of DeepAR."""
        settings = {
            "trainer": {"steps": 1_000_000},
            "feed": {"order": "windows", "window": CONTEXT + ASKED.horizon, "batch": BATCH},
            "backbone": {"width": WIDTH, "depth": LAYERS, "dropout": 0.1, "channels": "joint"},
            "process": {"head": {"name": "student"}, "lags": list(LAGS), "difference": 0},
        }
        path = self.keep / f"training-{os.getpid()}-{'default' if lags is None else 'equal'}"
        fit = Fit(plan(str(self.m4), settings, model="lstm", out=path), preview=False, save_every=1e9)
        events = (None for event in fit.events() if event.kind == "step")
        for _ in range(WARM):
            next(events)

        def updates() -> None:
            for _ in range(TIMED):
                next(events)

        return Job(lambda: clocked(updates), fit.net.parameter_count), lambda: deepar_training(self.m4, lags, self.keep)


def trained(data: str, settings: dict[str, Any], word: str, path: Path) -> Path:
    """A run of three updates with the settings of a whole training; an earlier one where it is there."""
    if not path.exists():
        steps = iter(range(3))
        planned = plan(data, settings, model=word, out=path)
        with closing(Fit(planned, preview=False, stop=lambda: next(steps, None) is None).events()) as events:
            for _ in events:
                pass
    return path


def lines_of_channels(rows: int, channels: int) -> Iterator[str]:
    """Made-up hours of days and weeks."""
    rng = np.random.default_rng(0)
    yield ",".join(["date", *(f"c{i}" for i in range(channels))])
    for hour, date in enumerate(np.datetime64("2020-01-01T00", "h") + np.arange(rows)):
        values = np.sin(hour * np.pi / 12 + np.arange(channels)) + 0.5 * np.sin(hour * np.pi / 84)
        numbers = (f"{value:.4f}" for value in values + rng.normal(0, 0.2, channels))
        yield ",".join([str(date).replace("T", " ") + ":00:00", *numbers])


def lines_of_series(count: int, length: int) -> Iterator[str]:
    """Made-up series of different sizes, one a line after its name."""
    rng = np.random.default_rng(1)
    yield ",".join(f'"V{i + 1}"' for i in range(length + 1))
    for number in range(count):
        size, phase = 10 ** rng.uniform(1, 4), rng.uniform(0, 24)
        values = size * (2 + np.sin((np.arange(length) + phase) * np.pi / 12) + rng.normal(0, 0.1, length))
        yield ",".join([f'"H{number + 1}"', *(f"{value:.3f}" for value in values)])


def written(path: Path, lines: Iterator[str]) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n")
    return path


# ---- DeepAR ---------------------------------------------------------------------------------------------------------


def deepar(keep: Path | None, epochs: int, batches: int, callbacks: Sequence[Any] = (), **settings: Any) -> Any:
    """An estimator that says nothing and leaves nothing where it is not asked to."""
    import logging

    from gluonts.torch import DeepAREstimator

    for name in ("lightning.pytorch", "pytorch_lightning", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = {**quiet, "max_epochs": epochs, "callbacks": list(callbacks), "default_root_dir": str(keep or ".")}
    return DeepAREstimator(
        freq="h",
        **{"prediction_length": ASKED.horizon, **settings},
        num_batches_per_epoch=batches,
        trainer_kwargs=trainer,
        num_layers=LAYERS,
        hidden_size=WIDTH,
        batch_size=BATCH,
    )


def dataset_of(arrays: Sequence[Any]) -> Any:
    """Numbers (T,) of several series as GluonTS has them, with dates that are made up."""
    import pandas as pd
    from gluonts.dataset.common import ListDataset

    return ListDataset([{"start": pd.Period("2020-01-01", "h"), "target": one} for one in arrays], freq="h")


def deepar_forecasts(origins: Origins) -> Job:
    """The same paths by DeepAR: each channel of each origin is a series."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        known = [numbers for numbers in origins.train[0].T.astype(np.float32)]
        predictor = deepar(Path(folder), 1, 2).train(dataset_of(known))
    # As many rows as ours reads at most: features are computed for all that it is given.
    pasts = dataset_of([numbers for one in origins.each for numbers in one.past[-1024:].T.astype(np.float32)])

    def forecast() -> None:
        made = [one.samples for one in predictor.predict(pasts, num_samples=ASKED.paths)]
        assert {one.shape for one in made} == {(ASKED.paths, ASKED.horizon)}
        assert len(made) == len(pasts)

    return Job(lambda: clocked(forecast), sum(p.numel() for p in predictor.prediction_net.parameters()))


def deepar_training(path: Path, lags: Sequence[int] | None, keep: Path) -> Job:
    """Updates by its trainer: a training of its own each time, of which the first updates are not timed."""
    import pytorch_lightning as lightning

    class Stamps(lightning.Callback):
        """Both clocks after each update."""

        def __init__(self) -> None:
            self.each: list[Clocks] = []

        def on_train_batch_end(self, *_: Any) -> None:
            self.each.append((time.perf_counter(), time.process_time()))

    with path.open() as file:
        lines = list(csv.reader(file))[1:]
    known = dataset_of([np.array([cell for cell in line[1:] if cell], np.float32) for line in lines])
    own = {"context_length": CONTEXT, "lags_seq": None if lags is None else [1, *lags]}
    parameters = sum(p.numel() for p in deepar(keep, 1, 1, **own).create_lightning_module().parameters())

    def run() -> Clocks:
        stamps = Stamps()
        deepar(keep, 1, WARM + TIMED, [stamps], **own).train(known)
        (wall, cpu), (wall_end, cpu_end) = stamps.each[WARM - 1], stamps.each[WARM + TIMED - 1]
        return wall_end - wall, cpu_end - cpu

    return Job(run, parameters)


# ---- the table ------------------------------------------------------------------------------------------------------


def table(rows: dict[str, Any]) -> str:
    """All rows as Markdown: seconds of both clocks, ours over DeepAR's, and windows a second."""
    lines = [
        "| | ours, s | its processor | DeepAR, s | its processor | ratio | rounds | goal | windows/s |",
        "|" + "---|" * 9,
    ]
    for name, row in rows.items():
        ours, peer, goal = row["ours"], row.get("peer"), GOALS.get(name)
        cells = [f"{ours['seconds']:.2f}", f"{ours['cpu']:.2f}"]
        cells += ["-"] * 4 if peer is None else [f"{peer['seconds']:.2f}", f"{peer['cpu']:.2f}", f"{row['ratio']:.2f}"]
        if peer is not None:
            cells.append(f"{row['ratio_least']:.2f} to {row['ratio_most']:.2f}")
        cells.append("" if goal is None else f"≤ {goal:.2f}")
        speeds = [f"{BATCH * TIMED / side['seconds']:,.0f}" for side in (ours, peer) if side is not None]
        cells.append(" and ".join(speeds) if name.startswith("training") else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
