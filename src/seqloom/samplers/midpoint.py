"""The midpoint rule as a solver."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from seqloom.samplers.diffuse import Level, Solver, Step


class Midpoint(Solver, name="midpoint"):
    """The direction halfway, where Euler's step leads in half the time, for the whole step. Second order."""

    stages: ClassVar[int] = 2
    stages_to_end: ClassVar[int] = 2
    keeps: ClassVar[tuple[str, ...]] = ("z",)

    def level(self, stage: int, step: Step) -> Level:
        if stage == 0:
            return step.now
        return (step.now[0] + step.then[0]) / 2, (step.now[1] + step.then[1]) / 2

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        if stage == 0:
            kept["z"] = z
            return z + step.along(z, clean, step.now) / 2
        return kept["z"] + step.along(z, clean, self.level(stage, step))
