"""The cache of compiled kernels notices an edit of any file of their folder, constants included."""

import os
import shutil
import subprocess
import sys

from conftest import ROOT

_MODULES = {
    "parts.py": "from lib.rendering.kernels.compile import inlined\nTWO = {constant}\n"
    "@inlined\ndef part(x):\n    return x + {number}\n",
    "whole.py": "from lib.rendering.kernels.compile import kernel\nfrom lib.rendering.kernels.parts import TWO, part\n"
    "@kernel\ndef whole(x):\n    return TWO * part(x)\n"
    "print(whole(1), sum(whole.stats.cache_hits.values()))\n",
}


def test_an_edit_of_an_inlined_function_or_constant_is_noticed(tmp_path):
    """The library's own code beside two modules of the test, as one package."""
    shutil.copytree(ROOT / "lib/core", tmp_path / "lib/core")
    folder = tmp_path / "lib/rendering/kernels"
    folder.mkdir(parents=True)
    (folder / "compile.py").write_text((ROOT / "lib/rendering/kernels/compile.py").read_text())
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    results = []
    for number, constant in ((1, 2), (1, 2), (20, 2), (20, 30)):
        for name, text in _MODULES.items():
            content = text.format(number=number, constant=constant) if name == "parts.py" else text
            if not (folder / name).is_file() or (folder / name).read_text() != content:
                (folder / name).write_text(content)
        command = [sys.executable, "-Bc", "import lib.rendering.kernels.whole"]
        run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        results.append(run.stdout.split())
    assert results == [["4", "0"], ["4", "1"], ["42", "0"], ["630", "0"]], "compiled, from the cache, compiled anew"
