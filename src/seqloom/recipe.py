"""Recipe: everything needed to train one model, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from seqloom.codecs.base import Codec, check_name
from seqloom.core.config import Settings, make, members_of, merge, over
from seqloom.core.errors import ConfigError
from seqloom.corpora.base import Corpus, Given
from seqloom.metrics.base import Metric
from seqloom.metrics.likelihood import LikelihoodMetric
from seqloom.mixers.base import Mixer
from seqloom.model_words import DEFAULT_MIXER, parts_of
from seqloom.network.backbone import Backbone
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.samplers.base import Sampler
from seqloom.training.feed import Feed
from seqloom.training.trainer import Trainer


class Recipe(Settings):
    """A whole training: data, network, process, how it is trained, and how it is sampled and scored."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """From which everything random follows."""
    corpus: Corpus
    """The data."""
    codec: Codec | None = None
    """How a thing becomes numbers; None: told from the data."""
    feed: Feed = Feed()
    """How training reads the data."""
    backbone: Backbone = Backbone()
    """The network."""
    process: Process = Autoregressive()
    """What is learned."""
    given: dict[str, Given] = Field(default_factory=dict)
    """Conditions, by name."""
    trainer: Trainer = Trainer()
    """How long and how fast."""
    start: str | None = None
    """The run whose weights this one begins with, as far as names and shapes agree; None: from scratch."""
    packed: Literal["no", "int8", "bfloat16"] = "no"
    """In what the matrices of a run that `seqloom quantize` wrote lie; what is trained lies in float32."""
    calibrate: bool = True
    """Whether forecasts of the validation split are drawn when the training of a series ends, and those asked for later
    have bands as wide as these needed."""
    sampler: Sampler | None = None
    """What the verbs use unless told otherwise; None: the process's own."""
    metrics: tuple[Metric, ...] = (LikelihoodMetric(),)
    """What `evaluate` reports."""

    @field_validator("codec", mode="before")
    @classmethod
    def _of_the_corpus(cls, value: Any, info: ValidationInfo) -> Any:
        check_name(value)
        return over(info.data["corpus"].default_codec, value) if "corpus" in info.data else value

    @field_validator("sampler", mode="before")
    @classmethod
    def _of_the_process(cls, value: Any, info: ValidationInfo) -> Any:
        return over(lambda: default_sampler(info.data["process"]), value) if "process" in info.data else value

    @model_validator(mode="after")
    def _encoders(self) -> Self:
        for name, given in self.given.items():
            self.encoder(name, given)
        return self

    def encoder(self, name: str, given: Given) -> Backbone | None:
        """The backbone of a condition that has settings of its own."""
        if given.encoder is None:
            return None
        try:
            return Backbone.parse(
                merge(self.backbone.replace(dropout=0.0, channels="joint", patch=1).plain(), given.encoder)
            )
        except ConfigError as error:
            raise error.under(f"given.{name}.encoder") from None


MAY_CHANGE = (("trainer", "steps"), ("trainer", "minutes"), ("corpus", "path"))
"""How long a training is, which may be extended, and where its data lie, whose content has a fingerprint of its own."""


def hash_of(settings: Mapping[str, Any]) -> str:
    """A fingerprint of all settings of a recipe, as its file has them, but those that may change in a run."""
    kept = {
        section: {key: value for key, value in values.items() if (section, key) not in MAY_CHANGE}
        if isinstance(values, Mapping)
        else values
        for section, values in settings.items()
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def model_settings(word: str) -> dict[str, Any]:
    """The settings that a `--model` word stands for: MIXER, transformer, or PROCESS[-MIXER].

    A mixer alone is autoregressive and brings the feed-forward part that goes with it; `transformer` is attention; a
    process alone has attention too.
    """
    mixers, processes = (
        {name: kind.__doc__ or "" for name, kind in members_of(family).items()} for family in (Mixer, Process)
    )
    process, mixer = parts_of(word, mixers, processes)
    return {"process": process, "backbone": _trunk(mixer)}


def _trunk(word: str) -> dict[str, Any]:
    mixer = "attention" if word == DEFAULT_MIXER else word
    return {"mixer": mixer, "mlp": members_of(Mixer)[mixer].feedforward}  # type: ignore[attr-defined]


def default_sampler(process: Process) -> Sampler:
    """The sampler that a process names."""
    return make(Sampler, process.sampler)  # type: ignore[type-abstract]
