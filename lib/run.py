"""Runs the notebook of one stage through papermill: `python -m lib.run stage2 --variant full`.

`python -m lib.run --preset quick` writes a preset into `params.yaml` instead, `--photos FOLDER` a folder of
photographs, whatever its name; DVC then passes over files there that it cannot read (`--photos` alone: looks again).

The parameters are checked first; a mistake is reported in one line before anything starts. A failed notebook is kept,
half executed, in `build/failed`: under `reports/notebooks` DVC keeps those of complete runs.
"""

import argparse
import os
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import nbformat
import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from papermill.exceptions import PapermillExecutionError
from ruamel.yaml import YAML
from traitlets.config import Config
from zmq import IPC_PATH_MAX_LEN

from lib.core import paths
from lib.core.errors import StudyError, command
from lib.core.files import printable, write_atomically
from lib.core.params import PARAMS_FILE, load_params
from lib.core.strict import read_yaml, unknown
from lib.photos.files import access_problem

NOTEBOOKS, PRESETS, FAILED = Path("notebooks"), Path("presets"), Path("build/failed")
DEFAULT_PRESET = "default"
HEADING = "# what DVC cannot read among the photographs; `python -m lib.run --photos` renews all below this line\n"
"""Begins our part of a `.dvcignore`."""
ROUND_TRIP = YAML()
ROUND_TRIP.width = 200
PROCESS_SETTINGS = {
    # torch's threads stop looking for their next operation early: the kernels of lib.rendering use the same cores
    "GOMP_SPINCOUNT": "2000",
    # buffers of up to 1 GiB, which networks use over and over, are kept; fresh pages take a tenth of a training step
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
"""Environment of the kernels, and so of the processes that they start, unless the user's own says otherwise."""


def notebook_of(stage):
    """Return the notebook of a stage, `notebooks/NN_stage.ipynb`."""
    notebooks = {path.stem[3:]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if stage not in notebooks:
        raise StudyError(f"there is no stage {stage!r}; stages: {', '.join(notebooks)}")
    return notebooks[stage]


def run_notebook(stage, variant=None):
    """Execute a stage's notebook; return the executed copy, which the variant is part of the name of."""
    source = notebook_of(stage)
    if ("variant" in papermill.inspect_notebook(str(source))) != bool(variant):
        raise StudyError(f"{stage} {'has no variants' if variant else 'needs --variant, a name under variants'}")
    load_params()
    paths.NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    os.environ.update(PROCESS_SETTINGS | os.environ)
    target = paths.NOTEBOOKS / f"{source.stem}{f'-{variant}' if variant else ''}.ipynb"
    try:
        execute_notebook(source, target, {"variant": variant} if variant else {})
    except PapermillExecutionError as error:
        kind = "" if error.ename.endswith("StudyError") else f"{error.ename}: "
        FAILED.mkdir(parents=True, exist_ok=True)
        failed = target.replace(FAILED / target.name)
        raise StudyError(f"{stage}: {kind}{error.evalue}\n(the cell that stopped is in {failed})") from None
    return target


def execute_notebook(source, target, parameters):
    """Execute any notebook in its own kernel, and print what its cells do; equal runs give equal bytes."""
    # the kernel's own, which draws into the notebook, whatever the user's other programs draw with
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        # through socket files, if the system takes paths that long: two stages that start together can meet on one port
        short = len(f"{sockets}/kernel-5") <= IPC_PATH_MAX_LEN
        connection = {"transport": "ipc", "ip": f"{sockets}/kernel"} if short else {"transport": "tcp"}
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=parameters,
            kernel_name="python3",
            cwd=".",
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            config=Config(KernelManager=connection),
            kernel_manager_class=_OwnKernel,
            record_timing=False,
            # the error stream, which is left out, may have cut the other one in pieces anywhere
            coalesce_streams=True,
            # nothing is left to do after the last cell, and a kernel that leaves by itself may print a traceback:
            # one of its threads says that it is idle while another closes what it says it through
            shutdown_kernel="immediate",
        )
    executed = nbformat.read(target, 4)
    write_atomically(target, lambda part: nbformat.write(without_traces(executed), part))


class _OwnKernel(AsyncKernelManager):
    """The kernel of this environment, also where another's is registered under the same name."""

    @property
    def kernel_spec(self):
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


def without_traces(notebook):
    """Take out of an executed notebook what differs between equal runs: progress, papermill's times and random ids."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def apply_preset(preset, path=PARAMS_FILE):
    """Write a preset's values into a parameter file, with comments, if the result is valid.

    A name in `presets/` changes the published values, the path of any other YAML file those that are there.
    """
    presets = {p.stem: p for p in sorted(PRESETS.glob("*.yaml"))}
    source = presets.get(str(preset), Path(preset))
    if not source.is_file():
        raise StudyError(f"no preset {str(preset)!r}; there are: {', '.join(presets) or 'none'}")
    base = presets[DEFAULT_PRESET] if str(preset) in presets else Path(path)
    document = ROUND_TRIP.load(base.read_text(encoding="utf-8"))
    for section, values in ({} if str(preset) == DEFAULT_PRESET else read_yaml(source)).items():
        if section not in document or not isinstance(values, dict):
            raise StudyError(f"{source}: " + unknown(section, list(document)))
        _overlay(document[section], values)
    _write_params(document, path)


def _write_params(document, path):
    def write(part):
        with part.open("w", encoding="utf-8") as file:
            ROUND_TRIP.dump(document, file)
        load_params(part)

    write_atomically(path, write)


def take_photographs(folder):
    """Write a folder of photographs, if one is named, into `params.yaml`, and prepare DVC for all sources' files."""
    if folder:
        folder = os.path.abspath(folder)
        if not os.path.isdir(folder) or printable(folder) != folder:
            raise StudyError(f"{printable(folder)} is no folder, or its name is no UTF-8")
        document = ROUND_TRIP.load(Path(PARAMS_FILE).read_text(encoding="utf-8"))
        document["photos"]["path"] = folder
        if document["photos"]["source"] == "simulated":
            document["photos"]["source"] = "folder"
        _write_params(document, PARAMS_FILE)
    params = load_params()
    # DVC looks into the folders of all sources, also where people are simulated
    unreadable, linked = ignore_unreadable(params.photos.path, *(s.path for s in params.evaluate.test_sources.values()))
    for file, problem in unreadable.items():
        print(f"passed over by DVC: {printable(file)}: {problem}")
    for file in linked:
        print(f"DVC sees no changes in the linked folder {printable(file)}: dvc repro --force photos (or test_photos)")


def ignore_unreadable(*folders):
    """Write the files below folders at which DVC would stop into the `.dvcignore` beside each; renew what stood there.

    Return those files, a dict of Path to why, and a list of links to folders, in which DVC sees no changes. StudyError
    where there is such a file outside of the repository: DVC looks for no `.dvcignore` there.
    """
    unreadable, linked, ignored = {}, [], defaultdict(list)
    for folder in dict.fromkeys(Path(os.path.abspath(folder)) for folder in folders):
        found = {}
        for place, inner, files in os.walk(folder):  # as DVC does
            linked += [path for name in inner if (path := Path(place, name)).is_symlink()]
            for path in (Path(place, name) for name in files):
                problem = access_problem(path)
                if problem or printable(path) != str(path):
                    found[path] = problem or "its name is no UTF-8"
        if folder.is_relative_to(Path.cwd()):
            ignored[folder.parent] += [f"/{_pattern(path.relative_to(folder.parent))}\n" for path in sorted(found)]
        elif found:
            path, problem = next(iter(found.items()))
            raise StudyError(
                f"DVC would stop at {len(found)} files, such as {printable(path)} ({problem}). Take them away, or "
                f"link the folder into the repository and name the link: ln -s '{folder}' data/raw/mine"
            )
        unreadable |= found
    for place, lines in ignored.items():
        file = place / ".dvcignore"
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        after = before.partition(HEADING)[0] + "".join([HEADING, *lines] if lines else [])
        if after != before:
            write_atomically(file, lambda part, after=after: part.write_text(after, encoding="utf-8"))
    return unreadable, linked


def _pattern(path):
    """A path as a line of `.dvcignore`, where some letters have a meaning; for what is no text `?` stands there."""
    text = re.sub(r"([\\*?\[\]!#])", r"\\\1", path.as_posix())
    return re.sub(r"[\udc80-\udcff\r\n]|\s(?=\s*$)", "?", text)


def _overlay(old, new):
    """Put values into a mapping; a mapping of its own, such as `methods.iterative_fit`, keeps what is not named."""
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _overlay(old[name], value)
        else:
            old[name] = value


@command()
def main(arguments=None):
    """Run one stage, or write a preset into `params.yaml`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib.run", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("stage", nargs="?", help="a stage that has a notebook")
    what.add_argument("--preset", metavar="NAME", help="a file in presets/, without its ending, or another YAML file")
    what.add_argument(
        "--photos", nargs="?", const="", metavar="FOLDER", help="your photographs; without a folder those named before"
    )
    parser.add_argument("--variant", help="of a stage that has several")
    chosen = parser.parse_args(arguments)
    if chosen.preset is not None:
        apply_preset(chosen.preset)
    elif chosen.photos is not None:
        take_photographs(chosen.photos)
    else:
        print(f"executed: {run_notebook(chosen.stage, chosen.variant)}")


if __name__ == "__main__":
    sys.exit(main())
