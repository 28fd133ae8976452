"""Run: the folder that a training leaves behind, the only thing that is loaded."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from seqloom import __version__
from seqloom.codecs.base import Codec
from seqloom.core import checkpoints, durable
from seqloom.core.config import make, read_yaml
from seqloom.core.errors import ConfigError, RunError
from seqloom.corpora.base import Given, Prepared
from seqloom.sequence.space import Space

if TYPE_CHECKING:  # to see whether there is a run, and what it says of itself, takes no torch
    from seqloom.network.network import Network
    from seqloom.recipe import Recipe

RECIPE, ADVICE, CODEC, VERSIONS, LOG, REPORT = (
    "recipe.yaml",
    "advice.json",
    "codec.json",
    "versions.json",
    "log.jsonl",
    "report.json",
)
WeightsChoice = Literal["best", "last"]


@dataclass(frozen=True)
class Run:
    """A run folder and what it says of itself; the weights stay on the disk until `weights` is called."""

    path: Path
    recipe: Recipe
    codec: Codec
    given: Mapping[str, tuple[Codec, Given]]
    ends: bool
    fingerprints: Mapping[str, str]
    id: str

    @property
    def space(self) -> Space:
        """What one element is, with an end where the data end."""
        return self.codec.space.replace(ends=self.ends)

    @property
    def identity(self) -> checkpoints.Identity:
        """What every checkpoint of this run carries."""
        return checkpoints.Identity(run=self.id, recipe=self.recipe.hash(), data=self.fingerprints["train"])

    def network(self) -> Network:
        """The network as it was before training."""
        from seqloom.network.given import ConditionSpec
        from seqloom.network.network import Network

        specs = {
            name: ConditionSpec(codec.space, given.enters or codec.enters)
            for name, (codec, given) in self.given.items()
        }
        recipe = self.recipe
        return Network(
            recipe.backbone,
            recipe.process.spec(self.space),
            self.space,
            recipe.feed.window,
            specs,
            recipe.seed,
            recipe.process.module(self.space),
        )

    def checkpoint(self, which: WeightsChoice = "best") -> tuple[checkpoints.Checkpoint, str, list[str]]:
        """A good checkpoint, which part of it (weights or average) to use, and what there is to say about it."""
        newest, damaged = checkpoints.newest_good(self.path, run_id=self.id)
        notes = [f"{bad.reason}; an older checkpoint is used" for bad in damaged]
        if newest is None:
            raise RunError(
                f"{self.path} has no checkpoint yet",
                hint="it was stopped before its first save; train it with --resume",
            )
        chosen, part = newest, "average" if "average" in newest.parts else "weights"
        best = newest.state().get("best")
        if which == "best" and best:
            part = best["part"]
            if best["step"] != newest.step:
                try:
                    chosen = checkpoints.verify(checkpoints.folder_of(self.path, best["step"]))
                except RunError as error:
                    notes.append(f"{error.message}; step {newest.step} is used instead")
                    part = "average" if "average" in newest.parts else "weights"
        notes.append(f"step {chosen.step}, {part}")
        return chosen, part, notes

    def load_network(self, which: WeightsChoice = "best") -> tuple[Network, list[str]]:
        """The trained network, and what there is to say about the checkpoint it came from."""
        checkpoint, part, notes = self.checkpoint(which)
        net = self.network()
        weights = checkpoint.tensors(part)
        expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        if {name: tuple(value.shape) for name, value in weights.items()} != expected:
            raise RunError(
                f"{checkpoint.folder} does not hold the network that {RECIPE} describes",
                hint="recipe.yaml or the checkpoint was changed by hand; restore the run from a copy",
            )
        net.load_state_dict(weights)
        return net.eval(), notes


def create(
    path: Path, recipe: Recipe, prepared: Prepared, given: Mapping[str, Given], advice: Mapping[str, Any]
) -> Run:
    """Write what a run is made of, before anything is trained. The lock is held by the caller."""
    identity = uuid.uuid4().hex
    write_recipe(path, recipe)
    durable.write_json(path / ADVICE, dict(advice))
    durable.write_json(path / VERSIONS, versions())
    written = {
        "run": identity,
        "codec": prepared.codec.plain(),
        "given": {
            name: {"codec": codec.plain(), "given": given[name].replace(codec=None).plain()}
            for name, codec in prepared.given.items()
        },
        "ends": prepared.ends,
        "fingerprints": {name: split.fingerprint for name, split in prepared.splits.items()},
    }
    durable.write_json(path / CODEC, written)  # the last: a folder without it is no run yet
    return read(path)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """recipe.yaml: every setting, defaults included."""
    durable.write_text(path / RECIPE, yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True))


def exists(path: Path) -> bool:
    """Whether there is a run at `path`."""
    return (path / CODEC).is_file()


def read(path: Path | str) -> Run:
    """The run in a folder; RunError where there is none or its files are torn."""
    from seqloom.recipe import Recipe

    path = Path(path)
    if not exists(path):
        raise RunError(
            f"{path} is not a run" if path.exists() else f"there is no run at {path}",
            hint="`seqloom runs` lists the runs here; `seqloom train DATA --out DIR` makes one",
        )
    written = durable.read_json(path / CODEC)
    try:
        recipe = Recipe.parse(read_yaml(path / RECIPE))
        codec = make(Codec, written["codec"])  # type: ignore[type-abstract]
        given = {
            name: (make(Codec, item["codec"]), Given.parse(item["given"]))  # type: ignore[type-abstract]
            for name, item in written["given"].items()
        }
        return Run(path, recipe, codec, given, written["ends"], written["fingerprints"], written["run"])
    except (ConfigError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: {RECIPE} or {CODEC} cannot be read: {error}",
            hint="restore them from a copy; if it uses a member of your own, import that module first",
        ) from None


def versions() -> dict[str, Any]:
    """What the arithmetic depends on: a resume elsewhere is warned of."""
    import torch

    return {
        "seqloom": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "device": "cpu",
    }


def free_name(folder: Path, stem: str) -> Path:
    """The next free `folder/stem[-n]`."""
    path, n = folder / stem, 1
    while path.exists():
        n += 1
        path = folder / f"{stem}-{n}"
    return path


def newest_name(folder: Path, stem: str) -> Path:
    """The newest of `folder/stem[-n]`, or the plain name where there is none."""
    taken = [p for p in folder.glob(f"{stem}*") if exists(p) and (p.name == stem or p.name[len(stem) + 1 :].isdigit())]
    return max(taken, key=lambda p: (p / CODEC).stat().st_mtime, default=folder / stem)
