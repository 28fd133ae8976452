"""Toys of known truth: what holds of each family's forecasts by its defaults, beside exact draws of what may follow.

    python benchmarks/toys.py [--steps 400] [--only sine] [--keep FOLDER]

Each model is trained on the first rows of a toy for so many steps, with nothing but --model and these given, and
forecasts 12 rows from 8 places of the last twentieth. Finished rows are kept, and a later sitting goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rows import Rows, parser_of, say

from seqloom import fit
from seqloom.corpora.known_series import KNOWN
from seqloom.metrics.known import beside, outside
from seqloom.model import load

MODELS = ("lstm", "transformer", "gaussian", "flow")
HORIZON, PATHS, DRAWS, ROWS = 12, 200, 4_000, 4_000
ORIGINS = range(3_830, 3_980, 20)
HISTORY = 400


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "toys", "sine/lstm")
    parser.add_argument("--steps", type=int, default=400, help="of each training")
    options = parser.parse_args()
    rows = Rows(options, steps=options.steps)
    for toy in KNOWN:
        for model in MODELS:
            run = options.keep / toy / model
            rows.fill(
                f"{toy}/{model}",
                lambda t=toy, m=model, r=run: {"measures": measured(t, m, options.steps, r)},  # type: ignore[misc]
                lambda row: ", ".join(outside(row["measures"])) or "holds",
            )
    say(table({name: row["measures"] for name, row in rows.finished.items()}))


def measured(toy: str, model: str, steps: int, run: Path) -> dict[str, tuple[float, float]]:
    """Measures of a model's forecasts and of the truth."""
    fit.train(f"builtin:{toy}", model=model, steps=steps, out=run)
    trained, law = load(run), KNOWN[toy]
    whole = law.series(ROWS, 0)
    names = [field.name for field in trained.codec.space.fields]
    paths, truths = [], []
    for start in ORIGINS:
        past = whole[max(0, start - HISTORY) : start]
        answer = trained.forecast(dict(zip(names, past.T, strict=True)), HORIZON, n=PATHS, seed=start)
        assert answer.paths is not None
        paths.append(answer.paths[:, -HORIZON:])
        truths.append(law.futures(whole[:start], HORIZON, DRAWS, start))
    return beside(paths, truths)


def table(rows: dict[str, Any]) -> str:
    """A Markdown table: each measure beside the truth, in bold where it is outside."""
    toys = list(dict.fromkeys(name.partition("/")[0] for name in rows))
    lines = ["| toy | measure | truth | " + " | ".join(MODELS) + " |", "|---" * (3 + len(MODELS)) + "|"]
    for toy in toys:
        own = {model: rows[f"{toy}/{model}"] for model in MODELS if f"{toy}/{model}" in rows}
        for measure, (_, truth) in next(iter(own.values())).items():
            cells = []
            for model in MODELS:
                if model not in own:
                    cells.append("")
                    continue
                made, wrong = own[model][measure][0], measure in outside(own[model])
                cells.append(f"**{made:.2f}**" if wrong else f"{made:.2f}")
            lines.append(f"| {toy} | {measure} | {truth:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
