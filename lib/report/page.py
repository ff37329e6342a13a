"""The report and the executed notebooks as pages that need nothing else: `python -m lib.report.page`.

The report is notebook 11 without its code; what its cells show is made by `figure`, `plot`, `table` and `note`.
Pictures, styles and formulas (as MathML) are inside the pages, which open in any browser without a network.
"""

import html
import io
import re
import shutil
from itertools import groupby
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
from IPython.display import HTML
from jinja2 import Template, pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from pygments.formatters import HtmlFormatter

from lib.core import paths
from lib.core.files import write_atomically
from lib.core.pictures import data_url, picture_url
from lib.core.progress import progress

REPORT_NOTEBOOK = "11_report"


def figure(path, missing=""):
    """Show a picture of an earlier stage, PNG (as WebP, a fifth of its size) or SVG; or say what is `missing`."""
    path = Path(path)
    if not path.is_file():
        return note(missing)
    if path.suffix == ".svg":
        return _plot_image(path.read_bytes())
    with Image.open(path) as image:
        address = picture_url(np.asarray(image.convert("RGB")), "WEBP", quality=90, method=5)
        width, height = image.size
    return HTML(f'<img src="{address}" width="{width}" height="{height}" alt="described above">')


def plot(drawn):
    """Show a matplotlib Figure that has no file, as SVG."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        drawn.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(drawn)
    return _plot_image(stream.getvalue())


def table(frame, missing="", folded=""):
    """Show a table of text, or say what is `missing`; `folded` is a title under which the reader finds it.

    A DataFrame has columns of one or two levels (groups), an index of one or two levels (blocks); a dict of str to str
    has a row per entry.
    """
    frame = pd.DataFrame({"": frame}) if isinstance(frame, dict) else frame
    if frame is None or frame.empty:
        return note(missing)
    columns = [name if isinstance(name, tuple) else (name,) for name in frame.columns]
    headers = [_spans(columns, level) for level in range(len(columns[0]))] if any(columns[0]) else []
    labels = [label if isinstance(label, tuple) else (None, label) for label in frame.index]
    rows = [(*label, map(_parts, values)) for label, values in zip(labels, frame.to_numpy())]
    template = Template(Path("templates/table.html").read_text(encoding="utf-8"), autoescape=True, trim_blocks=True)
    blocks = groupby(rows, lambda row: row[0])
    return HTML(template.render(width=len(columns), headers=headers, blocks=blocks, folded=folded))


def note(text, kind="missing"):
    """Show a sentence: what is `missing`, or a `notice`."""
    return HTML(f'<p class="{kind}">{html.escape(text)}</p>')


def notebook_links():
    """Link to the pages of the executed notebooks, by their titles."""
    lines = []
    for path in sorted({*paths.NOTEBOOKS.glob("*.ipynb")} - {paths.NOTEBOOKS / f"{REPORT_NOTEBOOK}.ipynb"}):
        title = html.escape(_title_of(nbformat.read(path, 4)))
        lines.append(f'<li><a href="{paths.PAGES.name}/{path.stem}.html">{path.stem}</a>: {title}')
    return HTML(f"<ul>{''.join(lines)}</ul>") if lines else note("There are no executed notebooks here.")


def page_of(notebook, code=True):
    """Make a page of an executed notebook."""
    hidden = dict(exclude_input=not code, exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = _Exporter(template_name="basic", **hidden).from_notebook_node(notebook)
    lead, heading, rest = body.partition("<h2 ")
    contents = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', body)
    style = {name: HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark")}
    page = dict(title=_title_of(notebook), lead=lead, rest=heading + rest, contents=contents, style=style)
    return Template(Path("templates/page.html").read_text(encoding="utf-8")).render(page)


def main():
    """Write the report, and a page of each other executed notebook into a folder beside it."""
    shutil.rmtree(paths.PAGES, ignore_errors=True)
    for path in progress(sorted(paths.NOTEBOOKS.glob("*.ipynb")), "pages", unit="page"):
        is_report = path.stem == REPORT_NOTEBOOK
        text = page_of(nbformat.read(path, 4), code=not is_report)
        if not is_report:  # links start in notebooks/, which is as deep as reports/
            text = text.replace('href="../', 'href="../../')
        target = paths.REPORT if is_report else paths.PAGES / f"{path.stem}.html"
        write_atomically(target, lambda part, text=text: part.write_text(text, encoding="utf-8"))


class _Exporter(HTMLExporter):
    """Notebooks to the inside of a page, formulas to MathML."""

    @pass_context
    def markdown2html(self, context, source):
        return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


class _Renderer(IPythonRenderer):
    def paragraph(self, text):
        caption = text.startswith("<strong>") and not text.startswith("<strong>Question")
        return f'<p class="caption">{text}</p>' if caption else f"<p>{text}</p>"

    def table(self, text):
        return f'<div class="scroll words"><table>{text}</table></div>'

    def inline_math(self, body):
        return convert(body)

    def block_math(self, body):
        return f'<span class="scroll equation">{convert(body, display="block")}</span>'

    def latex_environment(self, name, body):
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


def _title_of(notebook):
    """Return the first heading without its number."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    return re.sub(r"^#+\s*(\d+\s*·\s*)?", "", text.split("\n")[0])


def _plot_image(content):
    return HTML(f'<img class="plot" src="{data_url(content, "image/svg+xml")}" alt="described above">')


def _spans(columns, level):
    """The names on one level of the columns, with the number of columns of each; only groups are joined."""
    last = level == len(columns[0]) - 1
    keys = [(names[: level + 1], number if last else None) for number, names in enumerate(columns)]
    return [(names[-1], len(list(same))) for (names, _), same in groupby(keys)]


def _parts(value):
    """The value and the interval of `0.41 [0.38, 0.44]`; other text has no interval."""
    found = re.fullmatch(r"(.*) (\[[^]]*\])", str(value))
    return found.groups() if found else (value, "")


if __name__ == "__main__":
    main()
