"""What several tests share."""

import functools
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import lib.recognition.render_centre

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture
def generator():
    """A source of chance that is the same at every run."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


@pytest.fixture(scope="session", autouse=True)
def _no_results_in_the_repository(tmp_path_factory):
    """What a run keeps for the next one is kept elsewhere."""
    lib.recognition.render_centre.KEPT = tmp_path_factory.mktemp("reference_renders")


@functools.cache
def give_way():
    """Leave the cores, from now on, to the process that makes the first run of the study: others will wait for it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.nice(5)


def pytest_runtest_setup(item):
    if item.path.stem != "test_pipeline":
        give_way()


def pytest_collection_modifyitems(items):
    """Run the whole pipeline last, since what fails quickly should fail first.

    On three processes one begins with it, and has a core to itself until its first run is there (`give_way`). The other
    tests that start from that run come then, each to another process: there are short ones before and after them.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        before = {"test_pipeline": "", "test_tour": "test_params", "test_own_photographs": "test_photos"}
        items.sort(key=lambda item: (before.get(item.path.stem, item.path.stem), item.path.stem not in before))
    else:
        items.sort(key=lambda item: item.get_closest_marker("pipeline") is not None)
