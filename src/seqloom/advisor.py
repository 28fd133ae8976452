"""Advice: settings that suit the data and the budget, with reasons. A pure function; it fills only what was not set.

The rule is small. Text of little size and minutes wants small nets and many updates; so width and depth grow with the
budget, and a bounded window with the data. docs/concepts/advice.md shows what it chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqloom.core.config import merge
from seqloom.processes.base import Process
from seqloom.sequence.facts import Advice, Facts

READ, ATTENDED = 330_000_000, 105_000_000
"""A recurrent network of two layers is trained on so many elements a minute, over its width; one of four layers of
attention on so many."""
WIDE = 256
"""From this width on what a recurrent layer takes grows as the square of it."""
BRIEF = 0.4
"""Below so many minutes a network of tokens has hardly more than a hundred updates, unless these are small."""
FEW_EPOCHS = 4
"""Below so many passes over a text dropout only makes learning slower."""
READINGS = 80
"""The passes over a text that would take a dropout of 1, were it to grow with them without end."""
MOST_DROPOUT = 0.3
PIECES, AS_MANY = 500, 3
"""From so many symbols on they are pieces of words, of which a text has far fewer than characters: each pass over them
counts as so many."""
WORDS, AS_SLOW = 10_000, 2.5
"""From so many on they are words: to tell them apart takes more than the rest of a step, which is then so many times as
long. One pass over them counts as one."""
EPOCHS, UPDATES, DIFFUSION_UPDATES = 500, 100, 600
"""Readings after which a series says nothing new, and updates that a network has of few rows in any case."""
RARE = "what is read so few times is not learned by heart"
FEW_CHANNELS = 8
"""So many channels of a series attend to each other; more would cost too much."""


PATCH, FEWEST_PATCHES = 2, 16
"""Elements of a series that a position of the network holds, and positions below which it holds one."""


def advise(
    facts: Facts, process: Process, *, causal: bool, recurrent: bool, minutes: float | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings for the recipe as a nested mapping, and the reason for each by its key.

    A process is `causal` where each position sees itself and those before it alone. A network is `recurrent` where none
    of its mixers is attention: with a causal process it is trained on streams, with carried state.
    """
    if facts.ends and not facts.tokens:
        advice = _ending_vectors(facts, causal, recurrent, minutes)
    elif causal and recurrent:
        advice = _recurrent(facts, process.incremental, minutes)
    elif facts.tokens:
        advice = _tokens(facts, causal, recurrent, minutes)
    else:
        advice = _vectors(facts, causal, recurrent, minutes)
    if not causal and facts.length + facts.ends <= advice["feed.window"][0]:
        advice["backbone.marked"] = (True, "sequences are read whole, so places count")
    if facts.numbers > 1 and not facts.together and (channels := _arrangement(facts, process)):
        advice["backbone.channels"] = (channels, "what is learned of one channel holds for the others")
        batch = max(2, round(advice["feed.batch"][0] / min(facts.numbers, 4) / max(1, facts.numbers / FEW_CHANNELS)))
        advice["feed.batch"] = (batch, "each row is as many as there are channels")
    if _in_patches(facts, process, recurrent, advice):
        advice["backbone.patch"] = (PATCH, "forecasts are as good as one by one, in half the time")
    if facts.numbers and minutes is not None:
        updates = UPDATES if causal else DIFFUSION_UPDATES
        epochs = max(EPOCHS, updates * advice["feed.batch"][0] * advice["feed.window"][0] / facts.elements)
        advice["trainer.epochs"] = (round(epochs), "what is read more often is learned by heart: bands get too narrow")
    if not (facts.tokens or facts.ends or facts.horizon):
        advice["feed.horizon"] = _ahead(facts, advice["feed.window"][0])
    advice |= {f"process.{key}": suited for key, suited in process.advice(facts).items()}
    if not recurrent:
        for name in facts.attended:
            advice[f"given.{name}.encoder"] = (
                {"mixer": {"name": "gru"}, "depth": 1},
                "what is read in order has its place in it, which attention alone is slow to learn",
            )
    if facts.moved and causal and recurrent:
        advice["feed.order"] = ("windows", "elements are moved in training, and streams go on where they stand")
    if facts.turns:
        advice["feed.context"] = ("learned", "every turn teaches the language, and whole conversations can be made")
    if facts.apart:
        # Each by itself and short: none is cut, each is read as often as any other, short ones beside short ones.
        advice["feed.order"] = ("whole", "sequences are short and stand by themselves")
        advice["feed.window"] = (facts.longest + facts.ends, "the longest" + ", with its end" * facts.ends)
    settings: dict[str, Any] = {}
    for key, (value, _) in advice.items():
        settings = merge(settings, _nested(key, value))
    if "process" in settings:
        settings["process"]["name"] = process.name  # so that it is laid under this process's settings and no other's
    return settings, {key: f"{_said(value)}: {reason}" for key, (value, reason) in advice.items()}


def _said(value: Any) -> str:
    """A value as it is read: a member by its name, with what is set of it behind it."""
    if not isinstance(value, Mapping):
        return str(value)
    rest = [f"{key} {_said(own)}" for key, own in value.items() if key != "name"]
    return ", ".join([*([str(value["name"])] if "name" in value else []), *rest])


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _size(facts: Facts, minutes: float | None, sizes: Mapping[float, int]) -> int:
    """The entry of the greatest budget in minutes that is reached; without minutes, as for a budget of four."""
    budget = 4.0 if minutes is None else minutes
    if facts.elements < 50_000:
        budget = min(budget, 0.5)
    return max((limit, size) for limit, size in sizes.items() if budget >= limit)[1]


def _epochs(facts: Facts, minutes: float | None, read: float) -> float:
    """How often data are read, by so many elements a minute; without minutes, in four."""
    return (4.0 if minutes is None else minutes) * read / max(1, facts.elements)


def _against_overfitting(facts: Facts, minutes: float | None, read: float, least: float) -> Advice:
    """Dropout where so many elements a minute are read: none of few passes, and of more what grows from the least."""
    words = facts.symbols >= WORDS
    epochs = _epochs(facts, minutes, read / AS_SLOW if words else read)
    if epochs < FEW_EPOCHS:
        return {"backbone.dropout": (0.0, RARE)}
    pieces = facts.symbols >= PIECES and not words
    passes = epochs * (AS_MANY if pieces else 1)
    grown = least if minutes is None else round(min(MOST_DROPOUT, max(least, passes / READINGS)), 2)
    if grown == least:
        return {"backbone.dropout": (least, "grows with the width, and with how often the data are read")}
    kinds = "they are few symbols of many kinds, and " * pieces
    return {"backbone.dropout": (grown, f"{kinds}what is read about {round(epochs)} times is learned by heart")}


def _least_dropout(width: int) -> float:
    return 0.05 if width < 256 else 0.1


def _streams(facts: Facts, carries: bool) -> bool:
    """Whether state can be carried: long stretches without conditions, and a process that goes on from a state.

    Where elements are moved, a chunk of a stream would not go on from where the one before it stands.
    """
    return carries and not facts.conditioned and not facts.moved and facts.elements >= 64 * 32


def _recurrent(facts: Facts, carries: bool, minutes: float | None) -> Advice:
    if not facts.tokens:
        return _recurrent_vectors(facts, carries, minutes)
    width = _size(facts, minutes, {0: 128, 1.2: 192, 4: 256, 15: 384, 60: 512})
    advice: Advice = {
        "backbone.width": (width, "grows with the minutes: small budgets want many updates"),
        "backbone.depth": (2, "two layers"),
        "trainer.rate": (5e-3 if width < 256 else 4e-3, "recurrent networks of this width"),
        "trainer.average": (0.998, "smooths the last updates"),
    }
    if _streams(facts, carries):
        advice |= {
            "feed.order": ("streams", "the data are long: state is carried"),
            "feed.window": (32 if width < 256 else 64, "short segments give more updates"),
            "feed.batch": (max(1, min(32, facts.elements // 64)), "contiguous streams side by side"),
        }
    else:
        advice |= {
            "feed.window": (_whole(facts, 256), "whole sequences"),
            "feed.batch": (32, "sequences a step"),
        }
    read = READ / width / max(1, width / WIDE)
    advice |= _against_overfitting(facts, minutes, read, _least_dropout(width))
    if _epochs(facts, minutes, read) < FEW_EPOCHS and width < 192:
        advice["trainer.rate"] = (8e-3, "small networks and few updates want large steps")
    return advice


def _recurrent_vectors(facts: Facts, carries: bool, minutes: float | None) -> Advice:
    advice: Advice = {
        "backbone.width": (_size(facts, minutes, {0: 64, 15: 128}), "series are few and easily learned by heart"),
        "backbone.depth": (1, "series are few and easily learned by heart"),
        "backbone.dropout": (0.2, "series are few and easily learned by heart"),
        "trainer.rate": (1e-3, "a slow rate forecasts further than a fast one"),
        "trainer.average": (0.998, "smooths the last updates"),
    }
    if _streams(facts, carries) and facts.length >= 256:
        advice |= {
            "feed.order": ("streams", "the series are long: state is carried"),
            "feed.window": (48, "short segments give more updates"),
            "feed.batch": (max(1, min(16, facts.elements // 128)), "contiguous streams side by side"),
        }
    else:
        advice |= {
            "feed.window": (_whole(facts, _stretch(facts, 192)), "whole sequences where they are short"),
            "feed.batch": (32, "windows a step"),
        }
    return advice


def _arrangement(facts: Facts, process: Process) -> str:
    """How the channels of a series are best read, of the ways that suit the process; nothing: as one vector."""
    wanted = ("attend", "own") if facts.numbers <= FEW_CHANNELS else ("own",)
    return next((way for way in wanted if way in process.channels), "")


def _in_patches(facts: Facts, process: Process, recurrent: bool, advice: Advice) -> bool:
    """Whether elements of a series are best read a few at a time: they are many, and a position holds all channels.

    And it is forecasts that are asked for: samples made so are told from reality a little more often. Of values that
    wander a diffusion learns too much already, and more by the more updates that patches allow.
    """
    held = 0 < 2 * PATCH * facts.numbers <= advice["backbone.width"][0]
    long = facts.season > 1 and advice["feed.window"][0] >= FEWEST_PATCHES * PATCH
    return process.patched and facts.horizon > 0 and held and long and not (recurrent or facts.aligned)


def _tokens(facts: Facts, causal: bool, recurrent: bool, minutes: float | None) -> Advice:
    width = _size(facts, minutes, {0: 128, 10: 192, 40: 256, 150: 384})
    depth = _size(facts, minutes, {0: 2, BRIEF: 3, 0.8: 4, 40: 6})
    seen = _size(facts, minutes, {0: 64, BRIEF: 128})
    advice: Advice = {
        "backbone.width": (width, "grows with the minutes"),
        "backbone.depth": (2 if recurrent else depth, "grows with the minutes"),
        "feed.window": (_whole(facts, seen), "what the model will see at once"),
        "feed.batch": (16, "small batches give more updates"),
        "trainer.rate": (5e-3 if width < 256 else 3e-3, "networks of this width"),
        "trainer.weight_decay": (0.1, "matrices of a small Transformer"),
        "trainer.average": (0.998, "smooths the last updates"),
    }
    advice |= _against_overfitting(facts, minutes, ATTENDED / width, _least_dropout(width))
    if not recurrent:
        advice["trainer.optimizer"] = ({"name": "muon"}, "matrices of attention networks are learned in fewer updates")
    if not causal:
        advice["backbone.dropout"] = (0.0, "dropout is advised where each element is made from those before it")
        advice["trainer.rate"] = (2e-3, "slower than where each element is made from those before it")
        advice["feed.batch"] = (_few(advice["feed.window"][0]), "smaller batches give still more updates")
        advice["feed.shorter"] = (0.05, "so that short texts can be filled in too")
    return advice


def _vectors(facts: Facts, causal: bool, recurrent: bool, minutes: float | None) -> Advice:
    window = _whole(facts, _stretch(facts, 96))
    if not causal and facts.horizon:
        window = max(window, min(2 * facts.horizon, max(window, facts.length)))
    if causal:
        advice: Advice = {
            "backbone.width": (64, "series are few and easily learned by heart"),
            "backbone.depth": (2, "series are few and easily learned by heart"),
            "backbone.dropout": (0.2, "series are few and easily learned by heart"),
            "feed.batch": (32, "windows a step"),
        }
    else:
        advice = {
            "backbone.width": (_size(facts, minutes, {0: 64, 4: 96, 15: 128}), "small nets and many updates"),
            "backbone.depth": (
                2 if recurrent else _size(facts, minutes, {0: 2, 4: 3, 15: 4}),
                "small nets and many updates",
            ),
            "backbone.dropout": _dropout_of_diffusion(facts),
            "feed.batch": (_few(window), "small batches give more updates"),
            "feed.pattern": ({"name": "mixed"}, "so that it can forecast, fill gaps and sample"),
            "feed.shorter": (0.05, "so that short series can be filled in too"),
        }
    return advice | {
        "feed.window": (window, "what the model will see at once"),
        "trainer.rate": (2e-3, "networks of this width"),
        "trainer.average": (0.998, "smooths the last updates"),
    }


def _dropout_of_diffusion(facts: Facts) -> tuple[float, str]:
    if facts.wanders and not facts.moving:
        return 0.2, "of a walk little but its spread can be learned"
    return 0.0, "dropout is advised where each element is made from those before it"


def _ending_vectors(facts: Facts, causal: bool, recurrent: bool, minutes: float | None) -> Advice:
    """Vectors of things that end, such as drawings: there are many, and each is read by itself."""
    window = _whole(facts, 256)
    if not causal:
        return _vectors(facts, causal, recurrent, minutes) | {
            "backbone.width": (128, "sequences are many"),
            "backbone.depth": (2 if recurrent else 4, "sequences are many"),
            "feed.window": (window, "whole sequences"),
            "feed.batch": (_few_ending(facts, window), "small batches give more updates"),
            "feed.pattern": (
                {"name": "mixed", "nothing": 0.75, "prefix": 0.25, "spans": 0.0},
                "most are made from nothing, some go on from a beginning",
            ),
        }
    width = _size(facts, minutes, {0: 128, 4: 256, 15: 384} if recurrent else {0: 96, 4: 128, 15: 192})
    return {
        "backbone.width": (width, "grows with the minutes: small budgets want many updates"),
        "backbone.depth": (1 if recurrent else 3, "sequences are many, but short"),
        "backbone.dropout": (0.1, "sequences are many, but short"),
        "feed.window": (window, "whole sequences"),
        "feed.batch": (_few_ending(facts, window), "small batches give more updates"),
        "trainer.rate": (3e-3 if recurrent else 2e-3, "networks of this width"),
        "trainer.average": (0.998, "smooths the last updates"),
    }


def _stretch(facts: Facts, most: int) -> int:
    """A window of a series: a fortieth of it, 8 to `most`; two seasons (to 192) where they fit in four times."""
    window = max(8, min(most, facts.elements // 40))
    seasons = 2 * facts.season if facts.season > 1 else 0
    return max(window, min(seasons, 192, facts.elements // 4))


def _ahead(facts: Facts, window: int) -> tuple[int, str]:
    """How far ahead forecasts are likely to be asked for: a season, or a quarter of the window."""
    if 1 < facts.season <= window // 2:
        return facts.season, "forecasts of a season are likely to be asked for"
    return max(1, window // 4), "forecasts of a part of the window are likely to be asked for"


def _few(window: int) -> int:
    """A small batch: 8 windows, or as many short ones as hold 512 elements, to 32."""
    return max(8, min(32, 512 // window))


def _few_ending(facts: Facts, window: int) -> int:
    """A batch of things that end: about 1,500 elements, 8 to 32 of the longest of them."""
    return max(8, min(32, 1536 // max(window, facts.longest)))


def _whole(facts: Facts, most: int) -> int:
    """Whole sequences where they are short (with their end symbol), else so many positions."""
    return max(2, min(most, facts.length + facts.ends))
