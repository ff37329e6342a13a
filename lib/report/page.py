"""The report as one page that needs nothing else: pictures and styles are inside it."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from lib.core.files import write_atomically

TEMPLATE, FIGURES = Path("templates/report.html"), Path("reports/figures")
WEBP_QUALITY = 90


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes
    ----------
    number : str
        "Figure 3": that of the paper where it has one.
    path : Path
        PNG or SVG.
    caption : str
        What it shows, and what it means.
    """

    number: str
    path: Path
    caption: str
    kind: str = "figure"


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes
    ----------
    number : str
    frame : DataFrame
        Text; columns of one or two levels (groups), an index of one or two levels (blocks).
    caption : str
    folded : bool
        Shown when the reader asks for it.
    """

    number: str
    frame: pd.DataFrame
    caption: str
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Embedded:
    """Markup of one's own, such as a view of faces to turn."""

    number: str
    markup: str
    caption: str
    kind: str = "embedded"


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes
    ----------
    key, title : str
        Its address on the page, and its heading.
    text : tuple of str
        Paragraphs.
    parts : tuple of Figure, Table, Embedded or None
        None: left out, since a stage measured nothing; `missing` says so.
    missing : str
        What to say where parts are left out.
    """

    key: str
    title: str
    text: tuple = ()
    parts: tuple = ()
    missing: str = ""
    links: tuple = field(default=())

    @property
    def shown(self):
        """The parts that are there."""
        return [part for part in self.parts if part is not None]

    @property
    def incomplete(self):
        """Whether a part is left out."""
        return len(self.shown) < len(self.parts)


def figure(number, path, caption):
    """Make a Figure, or None where its file does not exist."""
    return Figure(number, Path(path), caption) if Path(path).is_file() else None


def table(number, frame, caption, folded=False):
    """Make a Table, or None where there is nothing in it."""
    return None if frame is None or frame.empty else Table(number, frame, caption, folded)


def write_page(path, title, lead, sections, warning=""):
    """Write the page.

    Parameters
    ----------
    path : path-like
    title : str
    lead : sequence of str
        Paragraphs of the abstract.
    sections : sequence of Section
    warning : str
        Shown above everything; empty for none.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= dict(inlined=inlined, safe_markup=Markup, split_interval=split_interval)
    environment.globals |= dict(header=header_rows, blocks=blocks)
    page = environment.get_template(TEMPLATE.name).render(title=title, lead=lead, sections=sections, warning=warning)
    write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))


def inlined(path):
    """Write a PNG or SVG file as a `data:` address; PNG becomes WebP, a fifth of its size.

    Returns
    -------
    tuple of (str, int or None, int or None)
        Address, width and height in pixels where they are known.
    """
    path = Path(path)
    if path.suffix == ".svg":
        return _address("image/svg+xml", path.read_bytes()), None, None
    stream = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(stream, "WEBP", quality=WEBP_QUALITY, method=5)
        return _address("image/webp", stream.getvalue()), *image.size


def drawn(figure):
    """Write a matplotlib figure as the markup of a picture, for what has no file of its own."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    return f'<img class="drawn plot" src="{_address("image/svg+xml", stream.getvalue())}" alt="described below">'


def split_interval(text):
    """Part "0.41 [0.38, 0.44]" into the value and its interval (empty where there is none)."""
    value, bracket, rest = str(text).partition(" [")
    return value, f"[{rest}" if bracket else ""


def header_rows(frame):
    """Return a table's header: for each level of its columns a list of (name, columns that it spans)."""
    rows = []
    for level in range(frame.columns.nlevels):
        cells = []
        for column, name in enumerate(frame.columns.get_level_values(level)):
            above = frame.columns[column][:level] if frame.columns.nlevels > 1 else ()
            if level < frame.columns.nlevels - 1 and cells and cells[-1][0] == (above, name):
                cells[-1][1] += 1
            else:
                cells.append([(above, name), 1])
        rows.append([(name, span) for (_, name), span in cells])
    return rows


def blocks(frame):
    """Return a table's rows in blocks: a list of (title or None, list of (label, cells))."""
    result = []
    for label, cells in zip(frame.index, frame.to_numpy()):
        title, label = label if isinstance(label, tuple) else (None, label)
        if not result or result[-1][0] != title:
            result.append((title, []))
        result[-1][1].append((label, cells.tolist()))
    return result


def _address(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
