"""AutoETS and AutoARIMA of statsforecast, in a process of its own that is ended where a series takes too long.

`python -m seqloom.evaluation.baselines.statistical NAME` is that process: it says that it is ready, and then answers
one line of JSON with another. Each series is fitted once, on the last rows before its first origin, and never again:
at a later origin the fitted model reads the last rows before that.
"""

from __future__ import annotations

import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.core.progress import count
from seqloom.evaluation.baselines.base import Baseline, BaselineForecast, ForecastTask
from seqloom.evaluation.baselines.paths import PAST, known_mean

Numbers = NDArray[np.float64]

LIBRARY = "statsforecast"
SECONDS, SECONDS_IN_ALL = 10.0, 120.0
"""For one series, and for all of them."""
STARTING = 120.0
"""Seconds that the process may take to import its library."""
LEVELS = 101
"""Quantiles of a cell's law that stand for its paths."""
WIDEST = 12
"""A longer season enters an ARIMA as a difference only: more of it takes minutes a series."""


class ETS(Baseline, name="ets"):
    """Exponential smoothing, its form by the corrected Akaike criterion (Hyndman et al. 2002), by statsforecast."""

    @property
    def label(self) -> str:
        return "AutoETS"

    def forecast(self, task: ForecastTask) -> BaselineForecast:
        return _fitted(self.label, task)


class ARIMA(Baseline, name="arima"):
    """ARIMA with orders by the corrected Akaike criterion (Hyndman & Khandakar 2008), by statsforecast."""

    @property
    def label(self) -> str:
        return "AutoARIMA"

    def forecast(self, task: ForecastTask) -> BaselineForecast:
        return _fitted(self.label, task)


def _fitted(name: str, task: ForecastTask) -> BaselineForecast:
    """Forecasts of every channel of every series; those that take too long have the mean of training instead."""
    if find_spec(LIBRARY) is None:
        return BaselineForecast((), f"not taken: pip install '{LIBRARY}' makes it one of the baselines", False)
    width = task.train[0].shape[1]
    owners = np.array(task.owners)
    laws = np.full((len(task.pasts), task.horizon, width, 2), np.nan)  # mean and standard deviation
    began, left_out, failed = time.monotonic(), 0, ""
    channels = [(owner, d) for owner in sorted(set(task.owners)) for d in range(width)]
    with _Process(name) as process:
        for number, (owner, d) in enumerate(channels):
            mine = np.flatnonzero(owners == owner)
            seconds = min(SECONDS, began + SECONDS_IN_ALL - time.monotonic())
            asked = {
                "train": _filled(task.pasts[int(mine[0])][-PAST:, d]),
                "pasts": [_filled(task.pasts[i][-PAST:, d]) for i in mine.tolist()],
                "horizon": task.horizon,
                "season": task.season,
            }
            answer = process.ask(asked, seconds) if seconds > 0 and asked["train"] else {"error": "no time is left"}
            if "error" in answer:
                left_out, failed = left_out + 1, failed or str(answer["error"])
            else:
                laws[mine, :, d] = np.array(answer["laws"], np.float64)
            task.progress((number + 1) / len(channels))
    rows = f"fitted once, on the last {PAST:,} rows before the first origin of a series"
    if left_out == len(channels):
        return BaselineForecast((), f"not taken: {failed}", False)
    if left_out:
        rows += f"; {left_out} of {count(len(channels), 'series')} with the mean of training instead ({failed})"
        level = known_mean(task.train)
        spread = np.nanstd(np.concatenate(list(task.train)), axis=0)
        laws = np.where(np.isnan(laws), np.stack([level, np.nan_to_num(spread)], -1), laws)
    quantiles = np.array([_normal_quantile((i + 0.5) / LEVELS) for i in range(LEVELS)])
    paths = [law[None, ..., 0] + quantiles[:, None, None] * law[None, ..., 1] for law in laws]
    return BaselineForecast(paths, f"{rows}; intervals of each cell, no joint paths", joint=False)


def _filled(channel: Numbers) -> list[float]:
    """A channel with its gaps bridged by straight lines, for the library knows none; empty where nothing is known."""
    known = np.flatnonzero(~np.isnan(channel))
    if not len(known):
        return []
    return [float(x) for x in np.interp(np.arange(len(channel)), known, channel[known])]


def _normal_quantile(q: float) -> float:
    """Of the standard normal law, by halving."""
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < q else (low, middle)
    return (low + high) / 2


class _Process:
    """The process that fits; it is started when it is first asked, and anew after a series that took too long."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.child: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *failure: object) -> None:
        self._end()

    def ask(self, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
        """What it answers; an `error` where that takes too long, or does not come."""
        if self.child is None:
            self._start()
            if not self._line(STARTING):
                self._end()
                return {"error": f"{LIBRARY} cannot be started here"}
        assert self.child is not None
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(asked) + "\n")
            self.child.stdin.flush()
        except OSError:
            self._end()
            return {"error": f"{LIBRARY} ended by itself"}
        line = self._line(seconds)
        if not line:
            self._end()
            return {"error": f"{LIBRARY} ended by itself" if line == "" else f"it takes over {seconds:.0f} s a series"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> None:
        self.lines = queue.Queue()
        self.child = subprocess.Popen(
            [sys.executable, "-m", __name__, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NIXTLA_ID_AS_COL": "1", "OMP_NUM_THREADS": "1"},
            text=True,
        )
        threading.Thread(target=_read, args=(self.child, self.lines), daemon=True).start()

    def _line(self, seconds: float) -> str | None:
        """Its next line; None where there is none in time, "" where it has ended."""
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def _end(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            for stream in (self.child.stdin, self.child.stdout):
                if stream is not None:
                    stream.close()
        self.child = None


def _read(child: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Pass on what a process says; an empty line where it has ended."""
    assert child.stdout is not None
    try:
        for line in child.stdout:
            lines.put(line)
    except ValueError:  # closed while it was read
        pass
    lines.put("")


def main(name: str) -> None:
    """Fit and forecast what standard input asks, line by line, until it ends."""
    warnings.simplefilter("ignore")
    from statsforecast import models

    out, sys.stdout = sys.stdout, sys.stderr  # what the library prints is no answer
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer: dict[str, Any] = {"laws": _laws(models, name, asked)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        print(json.dumps(answer), file=out, flush=True)


def _laws(models: Any, name: str, asked: dict[str, Any]) -> list[list[list[float]]]:
    """Mean and standard deviation of each step after each past."""
    season, horizon, level = asked["season"], asked["horizon"], 80
    settings: dict[str, Any] = {"season_length": season}
    if name == "AutoARIMA" and season > WIDEST:
        settings |= {"max_P": 0, "max_Q": 0, "approximation": True}
    model = getattr(models, name)(**settings).fit(np.array(asked["train"]))
    deviation = 2 * _normal_quantile(0.5 + level / 200)
    laws = []
    for past in asked["pasts"]:
        made = model.forward(np.array(past), h=horizon, level=[level])
        low, high = (np.asarray(made[f"{side}-{level}"], np.float64) for side in ("lo", "hi"))
        laws.append(np.stack([np.asarray(made["mean"], np.float64), (high - low) / deviation], -1).tolist())
    if not np.isfinite(np.array(laws)).all():
        raise ValueError("its forecast is not finite")
    return laws


def _names() -> Sequence[str]:
    return [kind().label for kind in (ETS, ARIMA)]


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in _names():
        main(sys.argv[1])
