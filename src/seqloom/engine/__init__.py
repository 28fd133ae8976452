"""The engine: rows of many requests through one network together."""

from seqloom.engine.engine import Engine
from seqloom.engine.network_rows import CAPACITY
from seqloom.engine.prompts import CHUNK
from seqloom.engine.request import Request, RowUpdate
from seqloom.engine.shared import Shared

__all__ = ["CAPACITY", "CHUNK", "Engine", "Request", "RowUpdate", "Shared"]
