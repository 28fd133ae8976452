"""Run: the folder that a training leaves behind, the only thing that is loaded."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from seqloom import __version__
from seqloom.codecs.base import Codec
from seqloom.core import checkpoints, durable, manifest
from seqloom.core.config import MODULES, make, parse_yaml
from seqloom.core.errors import ConfigError, RunError
from seqloom.corpora.base import Given, Prepared
from seqloom.sequence.correction import Correction
from seqloom.sequence.space import Space, Vectors

if TYPE_CHECKING:  # finding runs and reading their recipes needs no torch
    import torch

    from seqloom.network.given import ConditionSpec
    from seqloom.network.network import Network
    from seqloom.recipe import Recipe
    from seqloom.sequence.laws import Laws

RECIPE, ADVICE, CODEC, VERSIONS, LOG, REPORT = (
    "recipe.yaml",
    "advice.json",
    "codec.json",
    "versions.json",
    "log.jsonl",
    "report.json",
)
PRIOR, TABLES = "prior", "tables.safetensors"
LARGEST_TABLES = 8 << 30
WeightsChoice = Literal["best", "last"]


@dataclass(frozen=True)
class Run:
    """A run folder and the content of its small files; the weights stay on the disk until `weights` is called."""

    path: Path
    recipe: Recipe
    codec: Codec
    given: Mapping[str, tuple[Codec, Given]]
    ends: bool
    fingerprints: Mapping[str, str]
    id: str
    recipe_hash: str
    """Of what recipe.yaml says but for what may change: how long the training is, and where the data lie."""

    @property
    def space(self) -> Space:
        """What one element is, with an end where the data end."""
        return self.codec.space.replace(ends=self.ends)

    @property
    def codecs(self) -> dict[str, Codec]:
        """What reads each condition."""
        return {name: codec for name, (codec, _) in self.given.items()}

    @property
    def fitted(self) -> dict[str, Given]:
        """The conditions as they are asked of a corpus, each read by its codec of this run."""
        return {name: given.replace(codec=codec) for name, (codec, given) in self.given.items()}

    @property
    def identity(self) -> checkpoints.Identity:
        """What every checkpoint of this run carries."""
        return checkpoints.Identity(run=self.id, recipe=self.recipe_hash, data=self.fingerprints["train"])

    def check_unpacked(self) -> None:
        """RunError where the matrices are packed, for these cannot be trained."""
        if self.recipe.packed != "no":
            raise RunError(
                f"{self.path} lies in {self.recipe.packed}, which cannot be trained on or packed once more",
                hint=f"take the run that it was made from: {self.recipe.start}",
            )

    def conditions(self) -> dict[str, ConditionSpec]:
        """What the network is told of each condition."""
        from seqloom.network.given import ConditionSpec

        return {
            name: ConditionSpec(codec.space, given.enters or codec.enters, self.recipe.encoder(name, given))
            for name, (codec, given) in self.given.items()
        }

    def network(self, *, initialised: bool = True) -> Network:
        """The network as it was before training, or with no numbers yet, for those of a checkpoint."""
        from seqloom.network.network import Network

        recipe = self.recipe
        net = Network(
            recipe.backbone,
            recipe.process.spec(self.space),
            self.space,
            recipe.feed.window,
            self.conditions(),
            recipe.seed if initialised else None,
            recipe.process.module(self.space),
        )
        if not initialised:
            net.allocate()
        return net

    def symbols(self) -> dict[str, list[str]]:
        """For each tensor of the network with a row for each symbol: what each row stands for."""
        rows = {}
        spec = self.recipe.process.spec(self.space)
        if spec.symbolic:
            names = [f"symbol {symbol}" for symbol in self.codec.symbols()] + ["end"] * self.space.ends
            kinds = {spec.start: "start", spec.mask: "mask"}
            inputs = [*names, *(kinds.get(row, str(row)) for row in range(len(names), spec.inputs))]
            rows["embed.weight"] = inputs
            if spec.outputs >= len(names):
                outputs = [*names, *(f"weight of law {i}" for i in range(spec.outputs - len(names)))]
                rows |= {"head.weight": outputs, "head.bias": outputs}
        for name, (codec, _) in self.given.items():
            if codec.space.symbolic:
                rows[f"conditions.ends.{name}.embed.weight"] = [f"symbol {symbol}" for symbol in codec.symbols()]
        return rows

    def checkpoint(self, which: WeightsChoice = "best") -> tuple[checkpoints.Checkpoint, str, list[str]]:
        """A good checkpoint, which part of it (weights or average) to use, and notes on the choice."""
        newest, damaged = checkpoints.newest_good(self.path, identity=self.identity)
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

    def load_network(
        self, which: WeightsChoice = "best", device: torch.device | str = "cpu"
    ) -> tuple[Network, list[str]]:
        """The trained network on a device, and notes on the checkpoint it came from."""
        checkpoint, part, notes = self.checkpoint(which)
        net = self.network(initialised=False)
        if self.recipe.packed != "no":
            from seqloom.network.packing import pack

            pack(net, self.recipe.packed)
        weights = checkpoint.tensors(part)
        expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        if {name: tuple(value.shape) for name, value in weights.items()} != expected:
            raise RunError(
                f"{checkpoint.folder} does not hold the network that {RECIPE} describes",
                hint="recipe.yaml or the checkpoint was changed by hand; restore the run from a copy",
            )
        net.load_state_dict(weights)
        net = net.to(device)
        on_cpu = next(net.parameters()).device.type == "cpu"
        if net.space.symbolic and self.recipe.process.incremental and on_cpu:
            net.lie_for_symbols()
        net.dependence = self._dependence(net.space.dim if isinstance(net.space, Vectors) else 0)
        net.laws = self.laws()
        if net.laws is None and self.recipe.process.counts is not None:
            raise RunError(f"{self.path / PRIOR} is missing", hint="restore it from a copy, or train anew")
        return net.eval(), notes

    def laws(self) -> Laws | None:
        """What was counted in the training split, if it has been."""
        counts, spec = self.recipe.process.counts, self.recipe.process.spec(self.space)
        if counts is None or not (self.path / PRIOR / durable.MANIFEST).is_file():
            return None
        from safetensors.numpy import load

        tables = load(manifest.read(self.path / PRIOR, LARGEST_TABLES)[TABLES])
        return counts.of(tables, self.space, ordered=spec.block is not None)

    def keep_laws(self, laws: Laws) -> None:
        """Write down what was counted, beside the checkpoints, which refer to it."""
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(value) for name, value in laws.tensors().items()})
        durable.make_folders(self.path / PRIOR)
        durable.write_bytes(self.path / PRIOR / TABLES, data)
        manifest.write(self.path / PRIOR, {TABLES: [data]})

    @property
    def correction(self) -> Correction | None:
        """By what forecasts are corrected, as the report of a finished run has it."""
        found = self._reported("correction")
        return Correction.parse(found) if found else None

    def _dependence(self, dim: int) -> NDArray[np.float64] | None:
        """What the report of a finished run has of how columns are coupled."""
        found = np.array(self._reported("dependence") or [], np.float64)
        if found.shape != (dim, dim) or not dim or (np.linalg.eigvalsh(found) <= 0).any():
            return None
        return found

    def _reported(self, key: str) -> Any:
        """What the report of a finished run has under a key; None where there is none."""
        path = self.path / REPORT
        return durable.read_json(path).get(key) if path.is_file() else None


def create(
    path: Path,
    recipe: Recipe,
    prepared: Prepared,
    given: Mapping[str, Given],
    advice: Mapping[str, Any],
    device: object = "cpu",
) -> Run:
    """Write what a run is made of, before anything is trained. The lock is held by the caller."""
    written = {
        "run": uuid.uuid4().hex,
        "codec": prepared.codec.plain(),
        "given": {
            name: {"codec": codec.plain(), "given": given[name].replace(codec=None).plain()}
            for name, codec in prepared.given.items()
        },
        "ends": prepared.ends,
        "fingerprints": prepared.fingerprints,
    }
    files = {
        RECIPE: _yaml(recipe.plain()),
        ADVICE: durable.json_bytes(dict(advice), indent=2),
        VERSIONS: durable.json_bytes(versions(device), indent=2),
        CODEC: durable.json_bytes(written, indent=2),
    }
    _write(path, files)
    return read(path)


def derive(run: Run, path: Path, recipe: Recipe) -> Run:
    """A run of the same data and codecs with another recipe, without checkpoints. The lock is held by the caller."""
    files = {name: data for name, data in manifest.read(run.path).items() if name != RECIPE}
    files[RECIPE] = _yaml(recipe.plain())
    files[CODEC] = durable.json_bytes({**json.loads(files[CODEC]), "run": uuid.uuid4().hex}, indent=2)
    _write(path, files)
    if (laws := run.laws()) is not None:
        read(path).keep_laws(laws)
    return read(path)


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """The small files of a run, and last what makes a run of them, their manifest."""
    for name, data in files.items():
        durable.write_bytes(path / name, data)
    manifest.write(path, {name: [data] for name, data in files.items()})


def amend(run: Run, recipe: Recipe) -> Run:
    """Write what may change in a run's recipe: how long the training is, and where its data lie.

    While recipe.yaml is exchanged the manifest admits the old and the new, so a kill at any moment leaves a run.
    """
    files = manifest.read(run.path)
    values = yaml.safe_load(files[RECIPE])
    now = recipe.plain()
    values["corpus"] = now["corpus"]
    values["trainer"] = {**values["trainer"], "steps": now["trainer"]["steps"], "minutes": now["trainer"]["minutes"]}
    data = _yaml(values)
    if data != files[RECIPE]:
        rest = {name: [content] for name, content in files.items()}
        manifest.write(run.path, {**rest, RECIPE: [files[RECIPE], data]})
        durable.write_bytes(run.path / RECIPE, data)
        manifest.write(run.path, {**rest, RECIPE: [data]})
    return read(run.path)


def _yaml(values: Mapping[str, Any]) -> bytes:
    """Every setting, defaults included."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True).encode()


def exists(path: Path) -> bool:
    """Whether there is a run at `path`, be it whole or not."""
    return (path / durable.MANIFEST).is_file() or ((path / CODEC).is_file() and not begun(path))


def begun(path: Path) -> bool:
    """Whether there is only what a run begins with, not yet whole: it was killed before it was one."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        return False
    ours = {durable.LOCK, RECIPE, ADVICE, VERSIONS, CODEC}
    return durable.LOCK in names and all(name in ours or name.startswith(".tmp-") for name in names)


def remove(path: Path) -> None:
    """Take away what `create` and a training without a checkpoint wrote, and the folder where nothing else is in it."""
    for name in (durable.MANIFEST, CODEC, RECIPE, ADVICE, VERSIONS, LOG, durable.LOCK):  # what makes it a run first
        with contextlib.suppress(OSError):
            durable.delete(path / name)
    for name in (durable.MANIFEST, TABLES):
        with contextlib.suppress(OSError):
            durable.delete(path / PRIOR / name)
    for folder in (path / PRIOR, path / durable.CHECKPOINTS, path):
        with contextlib.suppress(OSError):
            durable.disk.rmdir(folder)


def read(path: Path | str) -> Run:
    """The run in a folder; RunError where there is none or its files have changed."""
    from seqloom.recipe import Recipe, hash_of

    path = Path(path)
    if not exists(path):
        raise RunError(
            f"{path} is not a run" if path.exists() else f"there is no run at {path}",
            hint="`seqloom runs` lists the runs here; `seqloom train DATA --out DIR` makes one",
        )
    files = manifest.read(path)
    try:
        written, settings = json.loads(files[CODEC]), parse_yaml(files[RECIPE], path / RECIPE)
        recipe = Recipe.parse(settings)
        codec = make(Codec, written["codec"])  # type: ignore[type-abstract]
        given = {
            name: (make(Codec, item["codec"]), Given.parse(item["given"]))  # type: ignore[type-abstract]
            for name, item in written["given"].items()
        }
        return Run(
            path, recipe, codec, given, written["ends"], written["fingerprints"], written["run"], hash_of(settings)
        )
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: {RECIPE} or {CODEC} cannot be read: {error}",
            hint=f"if it uses a member of your own, name its module: {MODULES}=MODULE before the command, or import it "
            "in Python first",
        ) from None


def versions(device: object = "cpu") -> dict[str, Any]:
    """The versions and settings that the bits of a result depend on; a resume with others is noted."""
    import torch

    from seqloom.core.speeds import speeds

    return {
        "seqloom": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "bfloat16": speeds().use_bfloat16,
        "device": str(device),
    }


def folders(folder: Path) -> list[Path]:
    """The runs in a folder, and those of the comparisons in it, the newest last."""
    marks = [mark for pattern in ("*", "*/runs/*") for mark in folder.glob(f"{pattern}/{CODEC}")]
    return [mark.parent for mark in sorted(marks, key=lambda mark: (mark.stat().st_mtime, str(mark)))]


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
