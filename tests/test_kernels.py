"""The cache of compiled kernels goes by the content of all files of their folder, constants included, alone."""

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


def test_what_is_compiled_goes_by_the_content_of_the_folder(tmp_path):
    """The library's own code beside two modules of the test, as one package, in several copies."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    results = []
    for copy, number, constant in (("one", 1, 2), ("two", 1, 2), ("two", 20, 2), ("one", 20, 30)):
        folder = tmp_path / copy / "lib/rendering/kernels"
        if not folder.exists():
            shutil.copytree(ROOT / "lib/core", tmp_path / copy / "lib/core")
            folder.mkdir(parents=True)
            (folder / "compile.py").write_text((ROOT / "lib/rendering/kernels/compile.py").read_text())
            (folder / "whole.py").write_text(_MODULES["whole.py"])
        (folder / "parts.py").write_text(_MODULES["parts.py"].format(number=number, constant=constant))
        command = [sys.executable, "-Bc", "import lib.rendering.kernels.whole"]
        run = subprocess.run(command, env=environment, cwd=tmp_path / copy, capture_output=True, text=True, check=True)
        results.append(run.stdout.split())
    assert results == [["4", "0"], ["4", "1"], ["42", "0"], ["630", "0"]], "compiled, from the cache, compiled anew"


def test_where_nothing_can_be_kept_kernels_are_compiled_anew(tmp_path):
    """Read-only code and home, or a cache of another user: nothing can be made below a file, by root neither."""
    environment = os.environ | {"NUMBA_CACHE_DIR": "/dev/null/nowhere", "PYTHONPATH": str(ROOT)}
    program = "from lib.rendering.kernels.compile import kernel\n@kernel\ndef f(x):\n    return x + 1\nprint(f(1))"
    (tmp_path / "program.py").write_text(program)
    run = subprocess.run([sys.executable, "program.py"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == "2\n", run.stderr
