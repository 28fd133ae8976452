"""DATA that a Python program has rather than names: a frame, which the cache keeps as a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from seqloom.core.errors import ConfigError
from seqloom.corpora import shards
from seqloom.corpora.readers import codecs


def word_of(data: Any) -> str:
    """The DATA word of a word, a path or a frame; ConfigError for anything else."""
    if isinstance(data, str | Path):
        return str(data)
    kept = next(filter(None, (kind.as_data(data) for kind in codecs())), None)
    if kept is None:
        raise ConfigError(
            f"DATA is a word, a path or a frame, not a {type(data).__name__}",
            hint="a frame is of polars or pandas, an Arrow table or a dict of columns; write anything else into a file",
        )
    return str(shards.spool(io.BytesIO(kept), shards.FRAME))
