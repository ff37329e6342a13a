"""The cache of compiled kernels notices an edit of any module that is compiled into them; the vector type."""

import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from conftest import ROOT

import lib.rendering.kernels.memory
import lib.rendering.kernels.shading_block
import lib.rendering.renderer
from lib.core.files import digest_of_sources
from lib.rendering.kernels.compile import exact_kernel, kernel
from lib.rendering.kernels.interleave import BLOCK, add_apart, join
from lib.rendering.kernels.vectors import (
    add_up,
    filled,
    lane,
    larger,
    load,
    multiply_add,
    rounded_up,
    smaller,
    square_root,
    store,
    turn,
    vector_of,
)

_KERNELS = {
    "__init__.py": "",
    "parts.py": "from lib.rendering.kernels.compile import inlined\n@inlined\ndef part(x):\n    return x + {number}\n",
    "whole.py": (
        "from lib.rendering.kernels.compile import kernel\nfrom lib.parts import part\n"
        "@kernel\ndef whole(x):\n    return part(x)\n"
        "print(whole(1), sum(whole.stats.cache_hits.values()))\n"
    ),
}


def test_an_edit_of_an_inlined_module_is_noticed(tmp_path):
    """The library's own code beside two modules of the test, as one package."""
    package = tmp_path / "lib"
    for module in ("core/files.py", "rendering/kernels/compile.py"):
        (package / module).parent.mkdir(parents=True)
        (package / module).write_text((ROOT / "lib" / module).read_text())
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    results = []
    for number in (1, 1, 20):
        for name, text in _KERNELS.items():
            content = text.format(number=number) if name == "parts.py" else text
            if not (package / name).is_file() or (package / name).read_text() != content:
                (package / name).write_text(content)
        command = [sys.executable, "-c", "import lib.whole"]
        run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        results.append(run.stdout.split())
    assert results == [["2", "0"], ["2", "1"], ["21", "0"]], "compiled, read from the cache, compiled anew"


@pytest.mark.parametrize("module", ["rasterize", "vertices", "shading"])
def test_kernels_of_the_renderer_depend_on_what_they_inline(module, monkeypatch, tmp_path):
    used = lib.rendering.kernels.shading_block if module == "shading" else lib.rendering.kernels.memory
    name = f"lib.rendering.kernels.{module}"
    import_module(name)
    before = digest_of_sources(name)
    changed = tmp_path / "changed.py"
    changed.write_text("changed = True\n")
    monkeypatch.setattr(used, "__file__", str(changed))
    assert digest_of_sources(name) != before


NINE = (0,) * 9
"""No power of two: vectors of as many lanes as a surface has attributes."""


@exact_kernel
def _some_of_all(numbers, factors, result):
    one, other, number = load(numbers, 3, NINE), load(factors, 0, NINE), factors[0]
    store(result, 1, multiply_add(number, one, multiply_add(one, other, filled(number, NINE))))
    store(result, 11, (one - other) * number / (square_root(one * one) + np.float32(1)))
    store(result, 21, larger(one, other) - smaller(one, other))
    store(result, 31, rounded_up(one / np.float32(4)))
    return add_up(one), lane(one, 2), lane(vector_of((number, number + number)), 1)


def test_vectors_do_what_numbers_do():
    rng = np.random.default_rng(0)
    numbers, factors = rng.integers(-9, 9, (2, 12)).astype(np.float32)
    result, one, other, number = np.zeros(41, np.float32), numbers[3:], factors[:9], factors[0]
    total, third, twice = _some_of_all(numbers, factors, result)
    assert (total, third, twice) == (one.sum(), one[2], 2 * number)
    assert (result[1:10] == number * one + one * other + number).all()
    assert (result[11:20] == (one - other) * number / (abs(one) + 1)).all()
    assert (result[21:30] == abs(one - other)).all()
    assert (result[31:40] == np.ceil(one / 4)).all()
    assert (result[[0, 10, 20, 30, 40]] == 0).all(), "nothing is written beside the vectors"


def test_what_is_not_a_number_is_not_chosen():
    @exact_kernel
    def choose(numbers, result):
        one, other = load(numbers, 0, NINE), filled(np.float32(1), NINE)
        store(result, 0, larger(one, other)), store(result, 9, smaller(one, other))

    numbers, result = np.full(9, np.nan, np.float32), np.zeros(18, np.float32)
    choose(numbers, result)
    assert (result == 1).all()


def test_rows_become_columns():
    @kernel
    def turned(numbers, lanes, columns):
        turn(numbers, 2, len(lanes) + 1, columns, 1, len(lanes), lanes)

    for count in (1, 2, 8):
        numbers, columns = np.arange(count * (count + 1) + 2, dtype=np.float32), np.zeros(count**2 + 2, np.float32)
        turned(numbers, (0,) * count, columns)
        assert (columns[1:-1].reshape(count, count) == numbers[2:].reshape(count, count + 1)[:, :count].T).all()
        assert columns[0] == columns[-1] == 0, "nothing is written beside the square"


@pytest.mark.parametrize("lanes", [(0,), (0,) * 8])
@pytest.mark.parametrize("vertices", [1, BLOCK, 2 * BLOCK + 5])
def test_faces_side_by_side_and_apart_again(lanes, vertices):
    rng = np.random.default_rng(0)
    for count in range(1, len(lanes) + 1):
        faces = rng.standard_normal((count, vertices * 3), dtype=np.float32)
        side = join(faces, lanes)
        assert (side.reshape(-1, len(lanes))[: vertices * 3, :count] == faces.T).all()
        total = np.ones_like(faces)
        add_apart(side, lanes, np.empty((len(lanes), BLOCK * 3), np.float32), total)
        assert (total == faces + 1).all()
