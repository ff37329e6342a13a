"""Files are whole or not there, and progress reads well in a log."""

import json
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import save_file

from lib.core.files import write_atomically, write_hdf5
from lib.core.progress import progress
from lib.core.tensors import read_json, write_json
from lib.evaluation.protocol import save_evaluation
from lib.photos.people import save_truth


def _interrupt(*arguments, **options):
    raise KeyboardInterrupt


def fill_by_hand(path):
    write_hdf5(path, _interrupt)


def truth(path):
    save_truth(path, ["ada"], np.zeros((1, 3, 3)), np.zeros((1, 3)))


def evaluation(path):
    ones = np.ones((1, 2))
    save_evaluation(path, SimpleNamespace(embeddings=ones, rows=ones), SimpleNamespace(pictures=ones, frontal=ones))


HDF5_WRITERS = [fill_by_hand, truth, evaluation]


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, lambda part: part.write_text("whole"))
    assert path.read_text() == "whole" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_interruption_keeps_the_old_file_and_leaves_no_rest(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(part):
        part.write_text("ha")
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file.txt"

    def write(part):
        part.write_text("the first ")
        write_atomically(path, lambda other: other.write_text("the other one"))
        assert path.read_text() == "the other one"
        with part.open("a") as file:
            file.write("one")

    write_atomically(path, write)
    assert path.read_text() == "the first one" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("write", HDF5_WRITERS, ids=lambda write: write.__name__)
def test_an_interrupted_hdf5_file_keeps_the_old_one(tmp_path, monkeypatch, write):
    path = tmp_path / "file.h5"
    path.write_text("old")
    monkeypatch.setattr(h5py.File, "__setitem__", _interrupt)
    monkeypatch.setattr(h5py.Group, "__setitem__", _interrupt)
    monkeypatch.setattr(h5py.Group, "create_dataset", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.h5"]


def test_no_module_opens_an_hdf5_file_for_writing_itself():
    pattern = re.compile(r"h5py\.File\([^)]*[\"'][wax]")
    writers = [path.name for path in (ROOT / "lib").rglob("*.py") if pattern.search(path.read_text())]
    assert writers == ["files.py"]


def test_numbers_that_are_none_become_valid_json(tmp_path):
    path, content = tmp_path / "metrics.json", {"a": [1.5, float("nan")], "b": {"c": np.float64("nan"), "d": "text"}}
    write_json(path, content)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {"a": [1.5, None], "b": {"c": None, "d": "text"}}
    assert str(read_json(path)) == str({"a": [1.5, float("nan")], "b": {"c": float("nan"), "d": "text"}})


def test_progress_writes_whole_lines_to_a_log(capfd):
    assert list(progress(range(3), "counting", unit="sheep")) == [0, 1, 2]
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith("counting: 100%") and "3/3" in lines[-1]
    assert not any("\r" in line for line in lines)


def test_progress_of_a_resumed_run_starts_where_it_was(capfd):
    bar = progress(description="steps", total=10, initial=8)
    bar.update(2)
    bar.close()
    assert "10/10" in capfd.readouterr().err


def test_files_are_readable_as_their_folder_is_whoever_writes_them(tmp_path):
    (tmp_path / "plain").touch()

    def write(part):
        save_file({"a": np.zeros(3)}, part)
        part.chmod(0o600)

    write_atomically(tmp_path / "shared", write)
    assert (tmp_path / "shared").stat().st_mode == (tmp_path / "plain").stat().st_mode
