"""Everyday commands: notebooks by hand, JupyterLab, the Makefile, continuous integration."""

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from lib.core import paths
from lib.core.params import load_params
from lib.fitting.published import PUBLISHED
from lib.fitting.reconstructor import default_regressor
from lib.open_model.build import build_open_face_model

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def code_cells(notebook):
    return [cell for cell in nbformat.read(notebook, 4)["cells"] if cell["cell_type"] == "code"]


WITH_PARAMETERS = [path for path in NOTEBOOKS if code_cells(path)[0]["metadata"].get("tags") == ["parameters"]]


@pytest.mark.parametrize("notebook", WITH_PARAMETERS, ids=lambda path: path.stem)
def test_defaults_of_a_notebook_are_those_of_the_study(notebook):
    first = code_cells(notebook)[0]
    defaults = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(first["source"]).body}
    params = load_params(ROOT / "params.yaml")
    if "variant" in defaults:
        params.variant(defaults["variant"])
    if "regressor" in defaults:
        assert defaults["regressor"] is None and "recommended" in params.variants


def test_the_published_regressor_is_given_photographs_where_it_belongs(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = load_params("params.yaml")
    assert default_regressor(params) == PUBLISHED
    for section, change in (
        ("face_model", dict(resolution="light")),
        ("face_model", dict(source="model2019.h5")),
        ("networks", dict(second="facenet")),
    ):
        other = replace(params, **{section: replace(getattr(params, section), **change)})
        assert default_regressor(other) == paths.REGRESSORS / "recommended.safetensors"
    assert PUBLISHED.stat().st_size < 10e6


def ask(url, end, **sent):
    """Read JSON; a server says where it is a moment before it listens."""
    while True:
        try:
            with urllib.request.urlopen(url, json.dumps(sent).encode() if sent else None, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_notebooks_by_hand_run_at_the_root(tmp_path):
    """`make lab` starts JupyterLab as anybody does, whose kernels begin in the notebook's folder."""
    assert make("--dry-run", "lab").splitlines()[-1].endswith("jupyter lab")
    server = {"open_browser": False, "port": 0, "allow_root": True}
    (tmp_path / "config").mkdir()
    (tmp_path / "config/jupyter_server_config.json").write_text(json.dumps({"ServerApp": server}))
    seen, startup = tmp_path / "seen", tmp_path / "ipython/profile_default/startup/seen.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(
        "from pathlib import Path\nbefore = Path.cwd()\nfrom lib.core import params\n"
        f"Path({str(seen)!r}).write_text(f'{{before}} {{Path.cwd()}} {{params.__file__}}')\n"
    )
    environment = os.environ | {"PATH": PATH, "JUPYTER_TOKEN": "test", "IPYTHONDIR": str(tmp_path / "ipython")}
    environment |= {f"JUPYTER_{name.upper()}_DIR": str(tmp_path / name) for name in ("config", "runtime", "data")}
    with (tmp_path / "log").open("w") as log:
        lab = subprocess.Popen(["jupyter", "lab"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 90
        # the file is there before its content is
        while not (running := [path for path in (tmp_path / "runtime").glob("jpserver-*.json") if path.read_text()]):
            assert lab.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
        url = json.loads(running[0].read_text())["url"]
        found = ask(f"{url}api/kernelspecs?token=test", end)
        listed = {entry["name"] for entry in ask(f"{url}api/contents/notebooks?token=test", end)["content"]}
        notebook = {"path": "notebooks/01_face_model.ipynb", "name": "", "type": "notebook"}
        ask(f"{url}api/sessions?token=test", end, **notebook, kernel={"name": "python3"})
        while not (seen.exists() and seen.read_text()):
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
    finally:
        for started in running:
            os.kill(json.loads(started.read_text())["pid"], 15)
        lab.wait(60)
    assert seen.read_text().split() == [str(path) for path in (ROOT / "notebooks", ROOT, ROOT / "lib/core/params.py")]
    wanted = {nbformat.read(path, 4)["metadata"]["kernelspec"]["name"] for path in NOTEBOOKS}
    assert wanted == {"python3"}
    argv = found["kernelspecs"]["python3"]["spec"]["argv"]
    assert Path(shutil.which(argv[0], path=PATH)).samefile(sys.executable) and "ipykernel_launcher" in argv
    assert listed >= {path.name for path in NOTEBOOKS}


def make(*arguments):
    environment = os.environ | {"PATH": PATH}
    # what a `make test` around this test tells its children: it would make them report the folder they enter
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    ).stdout


@pytest.mark.parametrize("named, told", [("", "name a photograph"), ("PHOTO=nobody.jpg", "there is no nobody.jpg")])
def test_a_photograph_that_is_not_there_is_told_before_anything_is_made(tmp_path, named, told):
    shutil.copy(ROOT / "Makefile", tmp_path)
    result = subprocess.run(["make", "face", *named.split()], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode and told in result.stderr and [*tmp_path.iterdir()] == [tmp_path / "Makefile"]


@pytest.fixture
def small_project(tmp_path):
    """A Makefile whose packages nobody has, a disk that is full, and the command `make setup` for them."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name in ("requirements.txt", "requirements-test.txt"):
        (tmp_path / name).write_text("a-package-that-nobody-has==1.0\n")
    (tmp_path / "df").write_text("#!/bin/sh\necho header\necho disk 100000000 99000000 1000000 99% /\n")
    (tmp_path / "df").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{PATH}"}
    return lambda: subprocess.run(["make", "setup"], cwd=tmp_path, capture_output=True, text=True, env=environment)


def test_make_setup_uses_an_environment_that_has_all_packages(small_project, tmp_path):
    assert "venv" not in make("--dry-run", "setup")
    for name in ("requirements.txt", "requirements-test.txt"):
        shutil.copy(ROOT / name, tmp_path)
    assert small_project().returncode == 0 and not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("line", "there"),
    [
        (f"pytest=={pytest.__version__}  # a comment", True),
        ("pytest==1.0", False),
        ("a-package-that-nobody-has==1.0", False),
        ("a-package-that-nobody-has==1.0; sys_platform == 'nowhere'", True),
        (f"a-package-that-nobody-has==1.0; sys_platform == {sys.platform!r}", False),
    ],
)
def test_an_environment_has_what_is_pinned_for_its_platform(tmp_path, line, there):
    (tmp_path / "pins.txt").write_text(f"# pins\n\n{line}\n")
    assert subprocess.run([sys.executable, ROOT / ".ci/installed.py", tmp_path / "pins.txt"]).returncode == (not there)


def test_a_full_disk_is_named_before_the_installation(small_project, tmp_path):
    done = small_project()
    assert done.returncode and re.search(r"make room on the disk: (14|5) GB are needed", done.stdout)
    assert not (tmp_path / ".venv").exists()


def test_torch_and_kaolin_fit_together():
    pins = (ROOT / "requirements.txt").read_text()
    assert "torch==2.8.0\n" in pins and "torchvision==0.23.0\n" in pins and "facenet-pytorch==2.6.0\n" in pins
    assert "kaolin==0.18.0" in (ROOT / "environment.yml").read_text() and "kaolin" not in pins.replace("Kaolin", "")


def test_make_help_lists_every_command():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {line.split()[1] for line in make().splitlines()} == targets
    assert "dvc repro" in make("--dry-run", "study")


def test_make_bench_runs_every_benchmark():
    planned = re.findall(r"benchmarks\.(\w+) .*--json > build/benchmarks/\1\.json", make("--dry-run", "bench"))
    commands = {
        path.stem for path in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text()
    }
    # needs another machine
    planned += re.findall(r"benchmarks\.(\w+)", make("--dry-run", "gpu"))
    assert set(planned) == commands


def test_make_gpu_builds_what_the_check_reads():
    """On a fresh clone too; a machine without a GPU is told before that."""
    planned = make("--dry-run", "gpu")
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: stage.get("do", stage) for name, stage in stages.items()}
    makers = {out: name for name, stage in stages.items() for out in stage.get("outs", [])}
    todo, built = re.search("dvc repro (.*)", planned)[1].split(), set()
    while todo:
        stage = stages[todo.pop()]
        built |= set(stage["outs"])
        todo += [makers[dependency] for dependency in stage["deps"] if dependency in makers]
    # it loads what stage 2 does
    assert {path for path in stages["stage2"]["deps"] if path.startswith("data/")} <= built
    order = ("gpu_check device", "core.no_scm", "lib.run --photos", "dvc repro", "gpu_check rasterisers study")
    places = [planned.index(command) for command in order]
    assert places == sorted(places)


def test_continuous_integration_runs_what_a_user_runs():
    workflow = YAML(typ="safe").load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert commands == ["bash .ci/run"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make lint test"


def test_pictures_of_real_people_are_kept_out_of_git(tmp_path):
    (repository,) = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    for folder in ("data", "reports"):
        hook = hooks[f"pictures-in-{folder}"]
        assert f"git restore --staged {folder}" in hook["name"]
        for file in ("a.jpg", "a/b.PNG", "a.jpeg", "a.webp", "index.html", "notebooks/a.ipynb"):
            assert re.search(hook["files"], f"{folder}/{file}")
        for file in (f"{folder}/losses.svg", f"{folder}/png", f"docs/{folder}/a.jpg", "lib/photos/files.py"):
            assert not re.search(hook["files"], file)
    assert hooks["pictures-in-data"]["language"] == "fail"
    command, params = shlex.split(hooks["pictures-in-reports"]["entry"]), tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    for change, refused in (("simulated", 0), ("folder", 1), ("lfw", 1)):
        params.write_text(text.replace("source: simulated", f"source: {change}", 1))
        assert subprocess.run(command, cwd=tmp_path).returncode == refused
    params.unlink()
    assert subprocess.run(command, cwd=tmp_path).returncode


def test_annotations_name_types_and_nothing_private_of_torch_is_used():
    """`callable` and `object` say nothing of what is meant; what begins with an underscore may be gone tomorrow."""
    for path in (ROOT / "lib").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            given = getattr(node, "annotation", None) or getattr(node, "returns", None)
            names = {part.id for part in ast.walk(given) if isinstance(part, ast.Name)} if given else set()
            assert not names & {"callable", "object", "any"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
                assert not ast.unparse(node).startswith("torch."), f"{path}:{node.lineno}"


def test_sizes_of_the_face_model_stand_in_the_parameters_alone():
    parameters = inspect.signature(build_open_face_model).parameters.values()
    assert all(parameter.default is inspect.Parameter.empty for parameter in parameters)


def test_importing_the_library_changes_nothing_of_the_process():
    code = "import atexit, gc; before = gc.get_threshold(), atexit._ncallbacks(); import lib.core.errors"
    code += "; assert (gc.get_threshold(), atexit._ncallbacks()) == before"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_library_and_the_readme_stay_small():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "lib").rglob("*.py")}
    assert sum(lines.values()) <= 15_000 and max(lines.values()) <= 320
    assert len([path for path in (ROOT / "lib").iterdir() if path.name != "__pycache__"]) <= 20
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1_500


def test_no_command_depends_on_the_terminals_letters_nor_on_the_locales_encoding():
    """Latin-1 and ASCII: a name or ± that cannot be printed would end a command after its work."""
    files = re.compile(r"\.(?:read|write)_text\((?:[^()]|\([^()]*\))*\)")
    for path in sorted((ROOT / "lib").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert [call for call in files.findall(text) if not re.search("encoding|errors|utf-8", call)] == [], path
        told = re.findall(r"^    print\(f?\"", text, re.M)
        if told and "parse_args" in text:
            assert "\n@command(" in text, path
