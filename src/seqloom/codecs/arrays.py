"""Tensors that a codec has learned, as a setting: saved with its other fields, compared and hashed like them."""

from __future__ import annotations

import base64
import binascii
import math
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from seqloom.core.config import Settings


class Array(Settings):
    """Numbers of a codec that its own `fit` has learned, such as a matrix: float64, exact to the bit."""

    shape: tuple[int, ...]
    """How many along each axis."""
    data: str
    """The numbers, little-endian, in base64."""

    @classmethod
    def of(cls, value: NDArray[np.float64]) -> Self:
        """An array as a setting."""
        return cls(shape=value.shape, data=base64.b64encode(np.ascontiguousarray(value, "<f8").tobytes()).decode())

    @field_validator("shape")
    @classmethod
    def _sizes(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if min(shape, default=0) < 0:
            raise ValueError("a size is negative")
        return shape

    @model_validator(mode="after")
    def _whole(self) -> Self:
        try:
            size = len(base64.b64decode(self.data, validate=True))
        except binascii.Error:
            raise ValueError("the data are not base64") from None
        if size != 8 * math.prod(self.shape):
            raise ValueError(f"{size} bytes are not an array of shape {self.shape}")
        return self

    @cached_property
    def value(self) -> NDArray[np.float64]:
        """The numbers; nobody writes to them."""
        return np.frombuffer(base64.b64decode(self.data), "<f8").reshape(self.shape)
