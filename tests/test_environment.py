"""The check of the installed packages, and that the pinned files are what it can read."""

import shutil
from importlib import metadata
from types import SimpleNamespace

import pytest
from conftest import ROOT

from lib.environment import main, missing_packages, missing_room


def installed(name):
    versions = {"torch": "2.8.0+cpu", "dvc": "3.0.0"}
    if name not in versions:
        raise metadata.PackageNotFoundError(name)
    return versions[name]


def test_what_is_missing_is_named():
    lines = ["# a comment", "", "torch==2.8.0", "dvc==3.67.1", "papermill==2.7.0  # runs notebooks"]
    problems = missing_packages(lines, installed)
    assert problems == ["dvc is 3.0.0, 3.67.1 is wanted", "papermill is not installed, 2.7.0 is wanted"]


def test_a_package_of_another_platform_is_not_wanted(monkeypatch):
    line = 'nvidia-cublas-cu12==12.8.4.1; sys_platform == "linux" and platform_machine == "x86_64"'
    monkeypatch.setattr("lib.environment.sys.platform", "linux")
    monkeypatch.setattr("lib.environment.platform.machine", lambda: "x86_64")
    assert len(missing_packages([line], installed)) == 1
    monkeypatch.setattr("lib.environment.platform.machine", lambda: "aarch64")
    assert missing_packages([line], installed) == []


def test_an_unpinned_requirement_is_refused():
    with pytest.raises(ValueError, match="torch>=2"):
        missing_packages(["torch>=2"], installed)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_the_pinned_files_are_installed_here(name):
    assert missing_packages((ROOT / name).read_text().splitlines()) == []


def test_torch_and_kaolin_fit_together():
    pins = (ROOT / "requirements.txt").read_text()
    assert "torch==2.8.0\n" in pins and "torchvision==0.23.0\n" in pins and "facenet-pytorch==2.6.0\n" in pins
    assert "kaolin==0.18.0" in (ROOT / "environment.yml").read_text() and "kaolin" not in pins.replace("Kaolin", "")


def test_a_full_disk_is_named_before_the_installation(tmp_path, monkeypatch, capsys):
    for folder in ("study", "temporary"):
        (tmp_path / folder).mkdir()
    both = {str(tmp_path / "study"): 3 * 10**9, str(tmp_path / "temporary"): 2 * 10**9}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5 * 10**9))
    assert missing_room(both) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4 * 10**9))
    (problem,) = missing_room(both)  # one file system: each folder alone would fit
    assert str(tmp_path / "study") in problem and "4.0 GB free, the installation wants 5.0 GB" in problem
    assert missing_room({str(tmp_path): 3 * 10**9}) == []
    assert main(["--room", str(tmp_path)]) == 1 and "make room" in capsys.readouterr().out
