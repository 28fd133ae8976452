"""Where what can be made again is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """The folder of the cache: $SEQLOOM_CACHE, or ~/.cache/seqloom."""
    named = os.environ.get("SEQLOOM_CACHE")
    return Path(named) if named else Path("~/.cache/seqloom").expanduser()
