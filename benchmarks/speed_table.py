"""The rows of benchmarks/speed.py as Markdown, and their place in the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rounds import Job


def table(record: Mapping[str, Any], jobs: Sequence[Job]) -> str:
    """All rows as Markdown: those that are lost, those that lack a peer and those that failed as well."""
    lines = [
        "| job | ours | peer | ours | peer | ratio | rounds | at least | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for job in jobs:
        row = record.get("jobs", {}).get(job.name)
        if row is None:
            lines.append(f"| {job.name} | | | | | not measured | | | |")
        elif "error" in row:
            lines.append(f"| {job.name} | | | | | failed: {row['error'].strip().splitlines()[-1]} | | | |")
        else:
            lines += [_line(job, row, compared) for compared in row["compared"]]
            lines += [f"| {job.name} | | {side} | | | skipped: {why} | | | |" for side, why in row["missing"].items()]
    return "\n".join(lines)


def _line(job: Job, row: Mapping[str, Any], compared: Mapping[str, Any]) -> str:
    ours, peer = (row["sides"][compared[side]] for side in ("ours", "peer"))
    goal, memory = compared["goal"], compared.get("memory")
    cells = [
        job.name + (" (loaded machine)" if row.get("loaded") else ""),
        *(_how(compared[side], row["sides"][compared[side]]) for side in ("ours", "peer")),
        *(f"{_short(side['rate'])} {row['unit']}" for side in (ours, peer)),
        f"**{compared['ratio']:.2f}**",
        f"{compared['least']:.2f} to {compared['most']:.2f}",
        "" if goal is None else f"{goal:.3g}",
        "" if memory is None else f"{memory:.2f} (at most {compared['memory_goal']:.2g})",
    ]
    return f"| {' | '.join(cells)} |"


def _how(name: str, side: Mapping[str, Any]) -> str:
    """A side and how it was run, in words."""
    threads = side.get("threads")
    told = [side.get("precision"), None if threads is None else f"{threads} thread{'s' * (threads > 1)}"]
    words = [str(one) for one in [*told, side.get("part")] if one]
    return name + (f" ({', '.join(words)})" if words else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machines(record: Mapping[str, Any]) -> str:
    """The machines that the rows were measured on, as Markdown."""
    keys = ("cpu", "cores", "threads", "torch", "python", "platform")
    rows = {tuple(str(row["machine"][key]) for key in keys) for row in record["jobs"].values() if "machine" in row}
    lines = ["| " + " | ".join(keys) + " |", "|---" * len(keys) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in sorted(rows))])
