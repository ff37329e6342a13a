"""The runner of the notebooks: what it passes, and what a user reads when something is wrong."""

import json
import os
import platform
import subprocess
import sys
import tempfile

import nbformat
import pytest
from conftest import ROOT

from lib.core.errors import StudyError
from lib.run import PROCESS_SETTINGS, main, notebook_of, run_notebook


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one notebook."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "notebooks").mkdir()

    def write(*cells, parameters="seed = 1"):
        parameters = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        cells = [parameters, *map(nbformat.v4.new_code_cell, cells)]
        book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(book, tmp_path / "notebooks" / "01_demo.ipynb")
        return tmp_path

    return write


def test_the_variant_reaches_the_notebook_and_names_the_copy(project):
    folder = project("from pathlib import Path\nPath('seen').write_text(variant)", parameters='variant = "none"')
    assert run_notebook("demo", "full").as_posix() == "reports/notebooks/01_demo-full.ipynb"
    assert (folder / "seen").read_text() == "full"


def test_the_users_other_environments_change_nothing(project, monkeypatch):
    """A kernel of the same name that is found first, and a backend that draws nothing into notebooks."""
    folder = project("import sys, matplotlib.pyplot as plt\nprint(sys.executable)\nplt.plot([1, 2])\nplt.show()")
    (folder / "kernels/python3").mkdir(parents=True)
    other = {"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}
    (folder / "kernels/python3/kernel.json").write_text(json.dumps(other))
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    executed = run_notebook("demo").read_text()
    assert "image/png" in executed and sys.executable in executed


def test_a_failed_cell_is_told_without_a_traceback_and_can_be_opened(project, capfd):
    folder = project("print('before')", "raise KeyError('the thing')")
    assert main(["demo"]) == 1
    output = capfd.readouterr().err
    assert "error: demo: KeyError: 'the thing'" in output and "build/failed/01_demo.ipynb" in output
    assert "Traceback" not in output
    assert not list((folder / "reports/notebooks").iterdir())
    cells = nbformat.read(folder / "build/failed/01_demo.ipynb", 4)["cells"]
    assert [out["ename"] for cell in cells for out in cell.get("outputs", []) if out["output_type"] == "error"] == [
        "KeyError"
    ]


def test_a_kernel_has_the_process_settings_unless_the_user_says_otherwise(project, monkeypatch):
    names = list(PROCESS_SETTINGS)
    folder = project(f"import os\nopen('seen', 'w').write(' '.join(os.environ[name] for name in {names}))")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    run_notebook("demo")
    assert (folder / "seen").read_text().split() == ["7", *list(PROCESS_SETTINGS.values())[1:]]


# of the C library, asked directly: torch and numpy have ways of their own
FAULTS = """
import ctypes, resource

def faults_of_a_buffer(size=200 * 2**20):
    before, library = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    buffer = library.malloc(ctypes.c_size_t(size))
    ctypes.memset(buffer, 1, size)
    library.free(buffer)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([faults_of_a_buffer() for _ in range(2)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_a_kernel_uses_large_buffers_again():
    silent = {name: value for name, value in os.environ.items() if name not in PROCESS_SETTINGS}
    before, after = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS], env=silent | settings, capture_output=True, check=True
            ).stdout
        )
        for settings in ({}, PROCESS_SETTINGS)
    )
    assert after < before / 20


@pytest.mark.parametrize(("folder_name", "transport"), [("t", "ipc"), ("t" * 100, "tcp")])
def test_kernels_do_not_meet(project, monkeypatch, capfd, folder_name, transport):
    """Two that started together could take the same port, and one that left by itself could print a traceback."""
    folder = project(
        "import atexit, os\nfrom pathlib import Path\nfrom ipykernel.connect import get_connection_info\n"
        "atexit.register(os.write, 2, b'leaving')\n"
        "Path('seen').write_text(get_connection_info(unpack=True)['transport'])"
    )
    (folder / folder_name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / folder_name))
    run_notebook("demo")
    assert (folder / "seen").read_text() == transport
    assert "".join(capfd.readouterr()) == ""
    assert not list((folder / folder_name).iterdir())


def test_wrong_parameters_stop_before_the_notebook(project, capfd):
    folder = project("from pathlib import Path\nPath('seen').write_text('ran')")
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("views: 3", "viewz: 3"))
    assert main(["demo"]) == 1
    assert "did you mean stage2.views?" in capfd.readouterr().err
    assert not (folder / "seen").exists()


def test_an_unknown_stage_is_refused(project):
    project()
    with pytest.raises(StudyError, match="no stage 'stage3'; stages: demo"):
        notebook_of("stage3")


def test_a_variant_is_named_where_there_are_some_and_nowhere_else(project):
    folder = project()
    with pytest.raises(StudyError, match="demo has no variants"):
        run_notebook("demo", "full")
    project(parameters='variant = "full"')
    with pytest.raises(StudyError, match="demo needs --variant"):
        run_notebook("demo")
    assert not (folder / "reports").exists()
