"""The executed notebooks as pages that any browser opens."""

import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from lib.core.files import write_atomically
from lib.core.progress import progress


def convert_notebooks(folder, leave_out):
    """Write an HTML page beside each executed notebook.

    Parameters
    ----------
    folder : path-like
        Holds executed notebooks.
    leave_out : str
        Name (without ending) of the notebook that is being executed, which is not whole yet.

    Returns
    -------
    list of dict
        In order of their names: `name`, `title` (of its first line), `page` (file name), `seconds` (that it took; None
        where unknown).
    """
    exporter = HTMLExporter(template_name="lab")
    paths = [path for path in sorted(Path(folder).glob("*.ipynb")) if path.stem != leave_out]
    pages = []
    for path in progress(paths, "notebooks as pages", unit="notebook"):
        notebook = nbformat.read(path, 4)
        page = path.with_suffix(".html")
        text, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": path.stem}})
        write_atomically(page, lambda part, text=text: part.write_text(text, encoding="utf-8"))
        seconds = notebook.metadata.get("papermill", {}).get("duration")
        pages.append(dict(name=path.stem, title=_title(notebook), page=page.name, seconds=seconds))
    return pages


def _title(notebook):
    """Return the first heading without its number."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    return re.sub(r"^#+\s*(\d+\s*·\s*)?", "", text.split("\n")[0])
