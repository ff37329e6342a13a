"""The cache of compiled kernels notices an edit of any module that is compiled into them; the vector type."""

import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from conftest import ROOT

import lib.kernel_memory
import lib.renderer
import lib.shading_block
from lib.kernel_vectors import LANES, add_up, load, multiply_add, store, zeros
from lib.kernels import digest_of_sources, kernel

_KERNELS = {
    "__init__.py": "",
    "parts.py": "from lib.kernels import inlined\n@inlined\ndef part(x):\n    return x + {number}\n",
    "whole.py": (
        "from lib.kernels import kernel\nfrom lib.parts import part\n"
        "@kernel\ndef whole(x):\n    return part(x)\n"
        "print(whole(1), sum(whole.stats.cache_hits.values()))\n"
    ),
}


def test_an_edit_of_an_inlined_module_is_noticed(tmp_path):
    """The library's own code beside two modules of the test, as one package."""
    package = tmp_path / "lib"
    package.mkdir()
    (package / "kernels.py").write_text((ROOT / "lib" / "kernels.py").read_text())
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


@pytest.mark.parametrize("module", ["rasterize_cpu", "vertex_stage_cpu", "shading_cpu", "linear_decoder_cpu"])
def test_kernels_of_the_renderer_depend_on_what_they_inline(module, monkeypatch, tmp_path):
    used = lib.shading_block if module == "shading_cpu" else lib.kernel_memory
    import_module(f"lib.{module}")
    before = digest_of_sources(f"lib.{module}")
    changed = tmp_path / "changed.py"
    changed.write_text("changed = True\n")
    monkeypatch.setattr(used, "__file__", str(changed))
    assert digest_of_sources(f"lib.{module}") != before


def test_vectors_add_multiply_and_sum():
    @kernel
    def work(numbers, factors, result):
        total = multiply_add(np.float32(2), load(numbers, 3), zeros())
        total = multiply_add(load(factors, 0), load(numbers, 0), total)
        store(result, 1, total)
        return add_up(total)

    rng = np.random.default_rng(0)
    numbers, factors = rng.integers(-9, 9, (2, LANES + 3)).astype(np.float32)
    result = np.zeros(LANES + 2, np.float32)
    expected = 2 * numbers[3:] + factors[:LANES] * numbers[:LANES]
    assert work(numbers, factors, result) == expected.sum()
    assert (result[1:-1] == expected).all() and result[0] == result[-1] == 0
