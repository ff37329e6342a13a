"""Files are whole or not there, and progress reads well in a log."""

import pytest

from lib.core.files import write_atomically
from lib.core.progress import progress


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
