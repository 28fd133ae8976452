"""The states of a diffusion on its way from noise to data, as files and a page that shows them in order."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.outputs import OutputFolder
from seqloom.core.page import page
from seqloom.core.progress import printable

if TYPE_CHECKING:
    from seqloom.model import Model
    from seqloom.sequence.query import Frame, Query

SHOWN = 16
"""States that are kept, spread evenly from the first to the last."""
HIDDEN = "_"
INDEX = "index.html"

_STYLE = """
body { max-width: 72rem; }
pre { padding: .7rem .9rem; margin-bottom: 1.6rem; border: 1px solid #8886; border-radius: .5rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
"""


@dataclass
class Trajectory:
    """The frames of the first sample of a query, and the folder they are written to."""

    model: Model
    query: Query
    folder: OutputFolder
    seen: list[Frame] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model, query: Query, folder: str, force: bool = False) -> Trajectory:
        """A trajectory into a folder; UnsupportedQuery where a model makes its samples from left to right."""
        if model.process.incremental:
            raise UnsupportedQuery(
                f"--frames shows a diffusion on its way; process={model.process.name} writes from left to right",
                hint="use a run of a diffusion, such as process=masked or process=gaussian, or leave --frames out",
            )
        names = [INDEX, *(f"{i:03d}{suffix}" for i in range(SHOWN) for suffix in (".txt", ".png"))]
        return cls(model, query, OutputFolder.at(folder, names, force=force, option="--frames"))

    def watched(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames as they come, those of the first sample kept."""
        for frame in frames:
            if frame.row == self.query.first_row and not frame.part:
                self.seen.append(frame)
            yield frame

    def write(self) -> Path:
        """Write one file a state, and a page of all; the path of the page."""
        states = self._chosen()
        written, drawn = [], []
        for i, (number, frame) in enumerate(states):
            title = self._title(number, frame)
            picture = self.model.codec.picture([self.model.decode(frame, self._asked(frame))], title)
            if picture is None:
                data = self._text(frame)
                name = f"{i:03d}.txt"
                text = printable(data.decode("utf-8", "replace"))
                written.append(f"<h2>{html.escape(title)}</h2>\n<pre>{html.escape(text)}</pre>")
                self.folder.file(name).write(data)
            else:
                name = f"{i:03d}.png"
                drawn.append(f'<img src="{name}" alt="{html.escape(title)}">')  # the title is in the picture
                self.folder.file(name).write(picture)
        hidden = self._hides
        note = f"{len(states)} of the {len(self.seen) + hidden} states of one sample, seed {self.query.seed}."
        if self.query.others:
            note += f" It is made of {len(self.query.canvases)} sequences; this is the first of them."
        if hidden:
            note += f" A position that is still hidden is shown as {HIDDEN}."
        else:
            note += " Each picture has vertical axes of its own."
        run = "" if self.model.run is None else str(self.model.run.path)
        body = "\n".join([*written, '<div class="pictures">', *drawn, "</div>"])
        index = self.folder.file(INDEX)
        index.write(page(f"A sample of {run} on its way", note, body, _STYLE))
        return index.path

    @property
    def _hides(self) -> bool:
        """Whether elements are hidden until they are settled; else all of them change all the time."""
        return self.model.network.space.symbolic

    def _asked(self, frame: Frame) -> Query:
        """The query as far as it is begun in a frame: of a long sequence the windows to come do not exist yet."""
        canvas = self.query.canvas
        if self._hides:
            return self.query
        count = min(len(frame.x), len(canvas))
        waiting = ~frame.settled[:count] & (frame.x[:count] == canvas.x[:count]).all(1)
        absent = canvas.absent.copy()
        absent[:count][waiting] = True
        return replace(self.query, canvas=replace(canvas, absent=absent))

    def _chosen(self) -> list[tuple[int, Frame]]:
        """States spread evenly, with their numbers; where elements are hidden it begins with all of them hidden."""
        import numpy as np

        frames = list(self.seen)
        if self._hides:
            given = self.query.canvas.shown
            first = replace(frames[0], x=self.query.canvas.x, settled=np.asarray(given), done=False)
            frames.insert(0, first)
        picked = np.unique(np.linspace(0, len(frames) - 1, SHOWN).round().astype(int))
        return [(int(i), frames[i]) for i in picked]

    def _title(self, number: int, frame: Frame) -> str:
        if frame.done:
            return "the sample"
        if not self._hides:
            return f"after {number + 1} of {len(self.seen)} network calls"
        hidden = len(self.query.canvas) - int(frame.settled.sum())
        return f"{hidden} of {len(self.query.canvas) - self.query.canvas.context} hidden"

    def _text(self, frame: Frame) -> bytes:
        """A state as its codec shows it; what is not settled as underscores."""
        import numpy as np

        from seqloom.sequence.canvas import Encoded
        from seqloom.sequence.space import Tokens

        codec, space = self.model.codec, self.model.network.space
        if frame.done or not self._hides:
            return codec.show(self.model.decode(frame, self.query))
        settled = np.zeros(len(self.query.canvas), bool)
        settled[: len(frame.settled)] = frame.settled
        x = np.zeros(len(settled), np.int64)
        x[: len(frame.x)] = frame.x
        assert isinstance(space, Tokens)
        settled &= x < space.size
        x, settled = x[self.query.canvas.context :], settled[self.query.canvas.context :]
        edges = np.flatnonzero(np.diff(settled)) + 1
        shown = b""
        for begin, end in zip([0, *edges], [*edges, len(x)], strict=True):
            if settled[begin]:
                shown += codec.show(codec.decode(Encoded(x[begin:end], np.ones(end - begin, bool))))
            else:
                shown += HIDDEN.encode() * int(end - begin)
        return shown
