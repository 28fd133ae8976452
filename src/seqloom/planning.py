"""What is to be trained: the recipe with advice filled in, the data, and where the run goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom import run as runs
from seqloom.advisor import advise
from seqloom.codecs.base import Codec
from seqloom.core import gpu, machine
from seqloom.core.config import merge, read_yaml
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.core.progress import count
from seqloom.core.speeds import faster_in_bfloat16
from seqloom.corpora import shards
from seqloom.corpora.base import Corpus, Given, Prepared, declared_by
from seqloom.corpora.files import corpus_of
from seqloom.corpora.packed import Packed
from seqloom.corpora.readers import codec_of_text
from seqloom.estimate import Estimate, Pace, checkpoint_bytes, data_warnings, estimated, room_warnings
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Lstm
from seqloom.network.backbone import Backbone
from seqloom.network.cost import cost
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.recipe import Recipe, model_settings
from seqloom.resuming import resumed
from seqloom.sequence.facts import READ_WHOLE, Advice, Facts
from seqloom.sequence.space import Space, Tokens, Vectors
from seqloom.sequence.spec import NetworkSpec
from seqloom.training.feed import Feed, rows_of

FEW_LONG = 0.05
"""So small a share of long sequences is better left out than all the others cut."""
PADDED = 0.9
"""The share of conditions that are no longer than what rows are taken to be padded to, for an estimate."""
MINUTES = 5.0
"""Of a training whose end nobody said."""
NUMBERS_EACH = 64
"""Numbers for each parameter, and for each feature of each layer and position: more than any training needs."""


@dataclass(frozen=True)
class TrainingPlan:
    """A training that is about to begin: the recipe with advice filled in, the data, and where it goes."""

    recipe: Recipe
    prepared: Prepared
    given: Mapping[str, Given]
    advice: Mapping[str, str]
    path: Path
    run: runs.Run | None = None

    def estimate(self, device: torch.device | str = "cpu") -> Estimate:
        """What the training will take; measures what was not yet measured of this machine (a few seconds)."""
        backbone, spec, space, specs, rows, window = _shape(self.recipe, self.prepared, self.given)
        sequences, length = rows, window
        if self.recipe.feed.order == "whole":  # short ones, of which more stand side by side
            sizes = packed_of(self.prepared).sizes
            length = max(1, min(window, round(float(sizes[sizes > 0].mean()))))
            sequences = max(1, (self.recipe.feed.budget or rows * window) // length)
        given = self.prepared.splits["train"].given
        read = {name: given[name].sizes for name, own in specs.items() if own.enters == "attend"}
        lengths = {name: max(1, round(float(np.quantile(sizes, PADDED)))) for name, sizes in read.items()}
        return estimated(
            self.recipe,
            cost(backbone, spec, space, specs, sequences, length, lengths),
            rows=rows,
            elements=len(packed_of(self.prepared)),
            pace=Pace.of(self.recipe.trainer.precision, torch.get_num_threads(), torch.device(device)),
            resident=round(machine.peak_memory_mb() * (1 << 20)) if torch.device(device).type == "cpu" else 0,
        )

    def warnings(self, estimate: Estimate, device: torch.device | str = "cpu") -> list[str]:
        """What speaks against it on a device: too little data, too little or too much time, too little room."""
        record, splits = machine.record(self.path), self.prepared.splits
        room = [None if record[key] is None else record[key] * (1 << 30) for key in ("memory_gib", "disk_free_gib")]
        if torch.device(device).type == "cuda":
            room[0] = torch.cuda.get_device_properties(device).total_memory
        return [
            *data_warnings(estimate.elements, len(splits["valid"].data.x), self.recipe.feed.window),
            *estimate.warnings().values(),
            *room_warnings(estimate, *room),
        ]


def plan(
    data: str,
    settings: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    start: Path | str | None = None,
    notify: Callable[[str], None] | None = None,
    device: torch.device | str = "cpu",
) -> TrainingPlan:
    """Read the data and fill in the recipe; where a run is to be resumed, take its own recipe.

    DATA is a file, a folder, `builtin:NAME` or a recipe (`.yaml`). What is set wins over the model word, and that over
    advice. `start` is a run whose weights are begun with; where no model is named, the model is that run's too.
    The `device` on which it will be trained decides in what precision. RunError where `out` holds a run and `resume` is
    not set.
    """
    overrides = dict(settings or {}) | ({"start": str(Path(start).absolute())} if start is not None else {})
    stem = f"{stem_of(data)}-{model or ('lstm' if start is None else Path(start).name)}"
    if Path(data).suffix in {".yaml", ".yml"}:
        overrides, stem = merge(read_yaml(Path(data)), overrides), Path(data).stem
        if "corpus" not in overrides:
            raise ConfigError("the recipe names no data", path="corpus", hint="add corpus: {name: files, path: ...}")
    folder = Path("runs")
    path = Path(out) if out else (runs.newest_name(folder, stem) if resume else runs.free_name(folder, stem))
    if runs.exists(path):
        if not resume:
            raise RunError(f"{path} already holds a run", hint="add --resume to go on with it, or choose another --out")
        run = runs.read(path)
        run.check_unpacked()
        recipe, prepared = resumed(run, data, overrides, model, notify)
        return TrainingPlan(recipe, prepared, {name: item for name, (_, item) in run.given.items()}, {}, path, run)
    _check_free(path, resume)
    origin = runs.read(overrides["start"]) if overrides.get("start") else None
    if origin is not None:
        origin.check_unpacked()
    corpus = corpus_of(data, overrides.pop("corpus", None))
    if origin is not None and model is None:  # its model, but for what is set otherwise
        own = {"backbone": origin.recipe.backbone.plain(), "process": origin.recipe.process.plain()}
        overrides = merge(own, overrides)
    codec = _codec_of(corpus, overrides, origin)
    declared = declared_by(corpus, overrides.get("given", {}), codec)
    if model is None and not {"backbone", "process"} & overrides.keys():
        model = "lstm"
    base = overrides if model is None else merge(model_settings(model), overrides)
    draft = Recipe.parse({**base, "corpus": corpus, "given": declared})
    known = {} if draft.process.incremental else unset(corpus)
    corpus = corpus.replace(**{key: value for key, (value, _) in known.items()})
    prepared = corpus.prepare(codec, declared if origin is None else _read_as_in(origin, declared), notify)
    advice, reasons = _advised(draft, prepared, declared, known, base, torch.device(device))
    declared = _with_encoders(declared, advice.pop("given", {}))
    values = merge(advice, base)
    if draft.trainer.steps is None and draft.trainer.minutes is None:
        values["trainer"] = {**dict(values.get("trainer", {})), "minutes": MINUTES}
        reasons["trainer.minutes"] = f"{MINUTES}: neither steps nor minutes were given"
    sampler = merge({"sampler": draft.process.sampler}, {"sampler": values.get("sampler") or {}})["sampler"]
    recipe = Recipe.parse({**values, "corpus": corpus, "given": declared, "sampler": sampler})
    _check(recipe, prepared)
    if origin is not None:
        checkpoint, part, _ = origin.checkpoint()
        reasons["start"] = f"the weights of run {origin.id}: {part} of step {checkpoint.step}"
    _check_room(recipe, prepared, declared, path)
    if notify:
        for note in feed_notes(recipe.feed, prepared, paired=bool(_attended(prepared, declared))):
            notify(note)
    shown = {key: why for key, why in reasons.items() if key == "start" or not _is_set(base, key)}
    return TrainingPlan(recipe, prepared, declared, shown, path)


def _codec_of(corpus: Corpus, settings: Mapping[str, Any], origin: runs.Run | None) -> Codec | None:
    """The codec that is asked for, else of texts that of the run that is begun with; None: that of the corpus."""
    if settings.get("codec"):
        return Recipe.parse({"corpus": corpus, "codec": settings["codec"]}).codec
    if origin is not None and isinstance(corpus.default_codec(), type(codec_of_text())):
        return origin.codec.for_more()
    return None


def _with_encoders(declared: Mapping[str, Given], advised: Mapping[str, Any]) -> dict[str, Given]:
    """The conditions, each that has no encoder with the one that is advised."""
    return {
        name: given.replace(encoder=advised[name]["encoder"]) if given.encoder is None and name in advised else given
        for name, given in declared.items()
    }


def _check_free(path: Path, resume: bool) -> None:
    """RunError where no run can be made: a file lies there, or what is none of a run that was begun."""
    file = next((one for one in (path, *path.parents) if one.exists() and not one.is_dir()), None)
    if file is not None:
        raise RunError(f"{file} is a file, and a run is a folder", hint="choose another --out")
    if path.exists() and not (resume and runs.begun(path)) and any(path.iterdir()):
        raise RunError(
            f"{path} is not empty and is no run: nothing in it is replaced", hint="choose another --out, or clear it"
        )


def _advised(
    draft: Recipe,
    prepared: Prepared,
    given: Mapping[str, Given],
    known: Advice,
    base: Mapping[str, Any],
    device: torch.device,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings by the data, the optimizer and the machine, and the reason for each and for `known` ones of the corpus.

    `base` is what was set, of which the width decides in what precision layers are trained fastest.
    """
    spec = draft.process.spec(_space(prepared))
    minutes = draft.trainer.minutes
    if minutes is not None:
        minutes *= _relative(draft.backbone, device)
    advice, reasons = advise(
        replace(
            facts_of(prepared, given, spec),
            horizon=draft.feed.horizon or 0,
            minutes=minutes,
            tied=draft.backbone.tie,
            moved=any(own.moves and not own.given for own in draft.feed.augment),
        ),
        draft.process,
        causal=spec.block == 1,
        recurrent=not draft.backbone.attends,
        minutes=minutes,
    )
    reasons |= {f"corpus.{key}": f"{value}: {reason}" for key, (value, reason) in known.items()}
    over_adamw = draft.trainer.optimizer.rate_over_adamw
    if over_adamw != 1:
        rate = advice["trainer"]["rate"] * over_adamw
        advice = merge(advice, {"trainer": {"rate": rate}})
        reasons["trainer.rate"] = f"{rate}: what {draft.trainer.optimizer.name} wants in place of AdamW's"
    width = merge(advice, base).get("backbone", {}).get("width", draft.backbone.width)
    precision = precision_for([mixer.timed_as for mixer in draft.backbone.mixers], width, device)
    if isinstance(prepared.codec.space, Tokens) and precision != "float32":
        advice = merge(advice, {"trainer": {"precision": precision}})
        reasons["trainer.precision"] = f"{precision}: this machine trains such layers faster in it, as was measured"
    return advice, reasons


def _read_as_in(origin: runs.Run, declared: Mapping[str, Given]) -> dict[str, Given]:
    """The conditions, each for which no codec is named read as in the run whose weights are begun with."""
    before = {name: codec.for_more() for name, codec in origin.codecs.items()}
    return {name: own if own.codec else own.replace(codec=before.get(name)) for name, own in declared.items()}


def unset(corpus: Corpus) -> Advice:
    """What suits a process that sees what follows, of the settings of a corpus that nobody set."""
    return {key: advice for key, advice in corpus.unordered().items() if key not in corpus.model_fields_set}


def stem_of(data: str) -> str:
    """The beginning of the name of a run on DATA."""
    word = data if ":" not in data or Path(data).exists() else data.partition(":")[2]  # builtin:NAME
    kept = shards.kept_of(Path(word))  # the name of such a file is a hash
    return kept.rpartition(" ")[2] or Path(word).name.split(".")[0] or "data"


def _is_set(tree: Mapping[str, Any], key: str) -> bool:
    node: Any = tree
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def facts_of(prepared: Prepared, given: Mapping[str, Given], spec: NetworkSpec) -> Facts:
    """The facts about the data that advice depends on."""
    data = prepared.splits["train"].data
    sizes, space = data.sizes, prepared.codec.space
    ways = {given[name].enters or codec.enters for name, codec in prepared.given.items()}
    return Facts(
        elements=int(data.starts[-1]),
        length=int(np.quantile(sizes, 0.95)) if len(sizes) else 0,
        tokens=isinstance(prepared.codec.space, Tokens),
        symbols=space.total if isinstance(space, Tokens) else 0,
        ends=prepared.ends,
        endless=prepared.codec.alone is not None,
        conditioned=bool(ways - {"align"}),
        aligned="align" in ways,
        attended=_attended(prepared, given),
        season=prepared.facts.get("season") or 1,
        persistence=prepared.facts.get("persistence") or 0.0,
        momentum=prepared.facts.get("momentum") or 0.0,
        unexplained=prepared.facts.get("innovation") or 1.0,
        repeated=prepared.facts.get("repeated") or 0.0,
        longest=int(sizes.max(initial=0)),
        turns=data.shown is not None and bool(prepared.codec.ends_of_turn),
        numbers=_numbers(prepared),
        counted=isinstance(space, Vectors) and all("count" in field.within for field in space.fields),
        together=not spec.channels,
        paired=isinstance(space, Vectors) and any(f.support == "real" and f.width == 2 for f in space.fields),
    )


def _space(prepared: Prepared) -> Space:
    """What an element is, the end included where sequences have one."""
    return prepared.codec.space.replace(ends=prepared.ends)


def _numbers(prepared: Prepared) -> int:
    """How many real numbers an element of a series has that goes on; 0 where it has others, or where sequences end."""
    space = prepared.codec.space
    if not isinstance(space, Vectors) or prepared.ends or any(field.support != "real" for field in space.fields):
        return 0
    return space.dim


def _check(recipe: Recipe, prepared: Prepared) -> None:
    """An error for what cannot be trained, before anything is written."""
    space = _space(prepared)
    recipe.process.spec(space)
    if recipe.packed != "no":
        raise ConfigError(
            "what is trained lies in float32", path="packed", hint="train, and then `seqloom quantize RUN --to int8`"
        )
    if recipe.feed.order == "streams" and (recipe.backbone.bounded or recipe.process.spec(space).block != 1):
        raise ConfigError(
            "only causal recurrent networks can carry state from step to step",
            path="feed.order",
            hint="use feed.order=windows",
        )
    if recipe.feed.order == "whole" and recipe.process.persistent:
        raise ConfigError(
            "a process that keeps state from step to step wants as many rows in each",
            path="feed.order",
            hint="use feed.order=windows",
        )
    data = prepared.splits["train"].data
    if not len(data.x):
        raise DataError("the training split is empty", hint="give more data, or other corpus.splits")
    if data.known is not None and not data.known.any():
        raise DataError("all cells of the training split are empty", hint="there is nothing to learn from")
    sizes = packed_of(prepared).sizes
    if recipe.feed.order == "whole" and recipe.feed.long != "cut" and recipe.feed.window < sizes.max():
        _check_long(recipe.feed, sizes)


def _check_room(recipe: Recipe, prepared: Prepared, given: Mapping[str, Given], path: Path) -> None:
    """An error where the training would need more memory or disk than there is; said before it begins."""
    record = machine.record(path)
    backbone, spec, space, specs, rows, window = shape = _shape(recipe, prepared, given)
    parameters = Network(backbone, spec, space, window, specs, seed=None).parameter_count
    room, disk = record["memory_available_gib"], record["disk_free_gib"]
    smaller = "choose a smaller backbone.width or backbone.depth"
    numbers = NUMBERS_EACH * parameters + NUMBERS_EACH * rows * window * backbone.width * backbone.depth
    near = room is not None and 4 * numbers > room * (1 << 30)  # else the figure, which takes a second, is not needed
    if room is not None and near and (gib := cost(*shape).training() / (1 << 30)) > room:
        raise ConfigError(
            f"a network of {parameters:,} parameters needs {gib:,.1f} GiB to be trained on {rows} rows of "
            f"{window}, and {room:,.1f} GiB of memory are free",
            path="backbone.width",
            hint=f"{smaller}, or a smaller feed.batch",
        )
    if disk is not None and checkpoint_bytes(parameters) > disk * (1 << 30):
        raise ConfigError(
            f"a checkpoint of {parameters:,} parameters takes {checkpoint_bytes(parameters) / (1 << 30):,.1f} GiB, and "
            f"{disk:,.1f} GiB of disk are free where {path} would be",
            path="backbone.width",
            hint=f"{smaller}, or an --out on another disk",
        )


def _shape(
    recipe: Recipe, prepared: Prepared, given: Mapping[str, Given]
) -> tuple[Backbone, NetworkSpec, Space, dict[str, ConditionSpec], int, int]:
    """What `cost` takes: the network, and the rows and window of a step."""
    space = _space(prepared)
    specs = {
        name: ConditionSpec(codec.space, given[name].enters or codec.enters, recipe.encoder(name, given[name]))
        for name, codec in prepared.given.items()
    }
    rows = rows_of(recipe.feed, packed_of(prepared))
    return recipe.backbone, recipe.process.spec(space), space, specs, rows, recipe.feed.window


def _check_long(feed: Feed, sizes: NDArray[np.int64]) -> None:
    """DataError where a sequence is longer than the window and that is to be refused, or where none is short enough."""
    longer = int((sizes > feed.window).sum())
    if feed.long == "refuse" or longer == len(sizes):
        raise DataError(
            f"{longer} of {len(sizes)} sequences are longer than feed.window={feed.window}",
            hint=f"the longest has {sizes.max()} elements; feed.long=cut trains on their beginning",
        )


def _attended(prepared: Prepared, given: Mapping[str, Given]) -> tuple[str, ...]:
    """The conditions that positions attend to."""
    return tuple(n for n, codec in prepared.given.items() if (given[n].enters or codec.enters) == "attend")


def packed_of(prepared: Prepared) -> Packed:
    """The training split as it is read, ends included."""
    return Packed(prepared.splits["train"].data, _space(prepared))


def feed_notes(feed: Feed, prepared: Prepared, *, paired: bool = False) -> list[str]:
    """Notes on data that the feed leaves out or reads in another way than its settings say.

    `paired`: something beside each sequence says what stands in the whole of it, as the source of a translation does.
    """
    packed = packed_of(prepared)
    if feed.order == "streams" and (rows := rows_of(feed, packed)) < feed.batch:
        return [
            f"the data hold {rows} streams of feed.window={feed.window}, not feed.batch={feed.batch}: so many are read"
        ]
    longer = int((packed.sizes > feed.window).sum())
    if feed.order == "whole" and longer:
        what = "only their beginning is read" if feed.long == "cut" else "they are left out"
        return [
            f"{longer} of {len(packed.sizes)} sequences are longer than feed.window={feed.window}: {what} (feed.long)"
        ]
    long = packed.sizes > READ_WHOLE + prepared.ends
    if feed.order == "whole" or not prepared.ends or not long.any():
        return []
    are = "is" if long.sum() == 1 else "are"
    many = (
        f"{long.sum():,} of {count(len(long), 'sequence')} {are} longer than {READ_WHOLE} elements, so all are read in"
    )
    if feed.order == "windows" and long.sum() <= FEW_LONG * len(long):
        longest = packed.sizes[~long].max()
        return [
            f"{many} windows that begin anywhere; feed.order=whole feed.long=skip feed.window={longest} leaves these "
            "out, and reads the others whole"
        ]
    if paired:  # what stands beside a part is said of the whole
        return [
            f"{many} parts of {feed.window}, each beside the whole of what is given; feed.order=whole feed.window="
            f"{packed.sizes.max()} reads each from its beginning to its end, which takes more memory and time a step"
        ]
    return []


def precision_for(kinds: Sequence[str], width: int, device: torch.device) -> gpu.Precision:
    """In what layers that are timed as these, of this width, are trained fastest on a device, and well enough."""
    if device.type != "cpu":
        return gpu.precision_for(kinds, width, device)
    return "bfloat16" if all(kind and faster_in_bfloat16(kind, width) for kind in kinds) else "float32"


def _relative(backbone: Backbone, device: torch.device) -> float:
    """How many times as fast networks of a kind are trained on a device as where sizes were chosen."""
    recurrent = all(mixer.timed_as not in {"", Attention.timed_as} for mixer in backbone.mixers)
    timed, width = (Lstm.timed_as, 256) if recurrent else (Attention.timed_as, 128)
    return Pace.of(precision_for([timed], width, device), torch.get_num_threads(), device).relative(recurrent)
