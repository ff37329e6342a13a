"""Figures of real people do not get into a commit; those of simulated people and plots do."""

import shutil

from conftest import ROOT

from lib.pictures_of_people import main, pictures_of_people

FILES = [
    "reports/figures/pairs/full.png",
    "reports/index.html",
    "reports/figures/losses.svg",
    "lib/photos/files.py",
    "data/a.jpg",
]


def test_only_simulated_people_are_published():
    assert pictures_of_people(FILES, "simulated") == ["data/a.jpg"]
    assert pictures_of_people(FILES, "lfw") == [FILES[0], FILES[1], "data/a.jpg"]


def test_the_commit_is_refused_with_a_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert main(FILES[:4]) == 0
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("source: simulated", "source: folder", 1))
    assert main(FILES[:1]) == 1 and "git restore --staged reports/figures/pairs/full.png" in capsys.readouterr().err
    (tmp_path / "params.yaml").unlink()
    assert main(FILES) == 1


def test_the_committed_study_is_of_simulated_people():
    assert "source: simulated" in (ROOT / "params.yaml").read_text()
