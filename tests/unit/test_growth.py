"""The script of growth: its oracle against enumeration, what it calls flat, and a page of all that was measured."""

from __future__ import annotations

import itertools

import growth
import growth_parts
import numpy as np
import torch

from seqloom.corpora.toys import Markov
from seqloom.processes.masked import Masked
from seqloom.sequence.space import Tokens


def test_the_oracle_of_a_chain_knows_what_follows_from_both_sides():
    chain, length = Markov(), 4
    size = len(chain.rows)
    net = growth_parts.ChainOracle(Masked().spec(Tokens(size=size)), chain, length)
    law = {x: np.exp(chain.log_prob(x)) for x in itertools.product(range(size), repeat=length)}
    for seen in ({}, {0: 1}, {3: 2}, {0: 4, 3: 0}, {1: 3, 2: 0}):
        canvas = torch.tensor([[seen.get(i, size) for i in range(length)]])
        probabilities = net(canvas)[0][0].softmax(-1).numpy()
        for position in set(range(length)) - set(seen):
            mass = np.zeros(size)
            for x, p in law.items():
                if all(x[i] == v for i, v in seen.items()):
                    mass[x[position]] += p
            np.testing.assert_allclose(probabilities[position], mass / mass.sum(), atol=1e-12)


def test_what_is_flat_is_told_from_what_is_not():
    rows = [
        {"mixer": mixer, "length": n, "us": us * n**power}
        for mixer, us, power in (("lstm", 3.0, 0.0), ("conv", 2.0, 0.5), ("attention", 1.0, 1.0))
        for n in (64, 256)
    ]
    assert growth.rise(rows, "attention", "length", "us") == 3.0
    said = growth.flatness(rows, "length", "us", 0.15)
    assert "lstm +0 %, conv +100 %; not within 15 %: conv" in said
    assert "attention" not in said


def test_all_that_was_measured_stands_in_a_section_and_on_a_page():
    made = {name: list(getattr(growth_parts, name)(True)) for name in ("calls", "gradients")}
    masked = {row["calls"]: row["error"] for row in made["calls"] if row["process"] == "masked"}
    assert masked[1] > 0.5 > masked[4] > masked[8]
    assert abs(masked[8]) < 0.15, "one by one a masked diffusion draws from the network's own law"
    exploding, vanishing = (
        next(row for row in made["gradients"] if row["network"] == f"rnn x {g}") for g in (1.5, 0.5)
    )
    assert exploding["norms"][-1] > 10 * exploding["norms"][0]
    assert max(exploding["clipped"]) < 1 < max(exploding["norms"])
    assert vanishing["norms"][-1] < 1e-3 * vanishing["norms"][0]
    made["training"] = [{"mixer": "lstm", "length": n, "us_token": 3.0} for n in (64, 128)]
    made["decoding"] = [{"mixer": "lstm", "context": n, "ms_element": 3.0} for n in (64, 128)]
    made["batches"] = [{"mixer": "lstm", "what": "training", "rows": 1, "tokens_second": 9.0}]
    made["exam"] = [{"task": "copy", "mixer": "lstm", "steps": 5, "lag": 8, "right": 0.5}]
    made["memory"] = [{"mixer": "lstm", "length": 64, "mb": 3.0}, {"corpus_mb": 10, "mb": 3.0}]
    made["vocabulary"] = [{"head": "adaptive", "symbols": 64, "mb": 3.0, "ms": 7.0}]
    made["state"] = [{"mixer": "lstm", "context": n, "kb": 3.0} for n in (64, 128)]
    machine = {"cpu": "a chip", "threads": 2, "torch": "2"}
    measured = {name: {"rows": rows, "loaded": False, "machine": machine} for name, rows in made.items()}
    text = growth.section(measured)
    assert "rnn x 1.5 | yes" in text
    assert "copy, 5 steps, lag" in text
    assert "| adaptive | 3 MB, 7 ms |" in text
    assert growth.page(measured).startswith(b"\x89PNG")


def test_what_is_kept_of_a_sequence_grows_with_attention_to_all_of_it_alone():
    kept = {}
    for row in growth_parts.state(True):
        kept.setdefault(row["mixer"], {})[row["context"]] = row["kb"]
    growing = {mixer for mixer, own in kept.items() if own[64] > own[16]}
    assert growing == {"attention", growth_parts.SHARED, growth_parts.SUNK, growth_parts.LAYERED}
    grown = {mixer: own[64] - own[16] for mixer, own in kept.items()}
    assert grown[growth_parts.SHARED] == grown["attention"] / 4
