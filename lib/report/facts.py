"""The machine, packages and inputs of a run, for the report's reader; metrics do not use them."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
from ruamel.yaml import YAML

from lib.core.files import sha256_of
from lib.core.params import PARAMS_FILE

LOCK = Path("dvc.lock")
PACKAGES = (
    *("torch", "numba", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "h5py", "pillow", "matplotlib"),
    *("facenet-pytorch", "anny", "trimesh", "POT", "papermill", "dvc"),
)


def machine_facts():
    """Describe the machine, a dict of str to str; no name of machine or user."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def package_versions():
    """Return the versions of `PACKAGES`, a dict of str to str; of a missing one it says so."""
    installed = {package.name: package.version for package in metadata.distributions()}
    return {name: installed.get(name, "not installed") for name in PACKAGES}


def sources():
    """Name what the run was made from: SHA-256 of the parameters, and the commit if there is one, by their names."""
    facts = {f"SHA-256 of {PARAMS_FILE}": sha256_of(PARAMS_FILE)}
    commit = _git("rev-parse", "HEAD")
    if commit:
        # what a run itself writes does not count
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "lib", "notebooks", "params.yaml")
        facts["commit"] = commit + (" with changes" if changed else "")
    return facts


def output_hashes():
    """Read the MD5 of every output outside `reports/` from DVC's lock, a dict of str to str."""
    if not LOCK.is_file():
        return {}
    stages = YAML(typ="safe").load(LOCK)["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    return {path: md5 for path, md5 in outs.items() if not path.startswith("reports/")}


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(*arguments):
    """Ask git; an empty text where there is no repository or no git."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
