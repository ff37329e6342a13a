"""On what, when and from what a run was made: for the reader of the report, never for metrics."""

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil
from ruamel.yaml import YAML

PACKAGES = (
    *("torch", "numba", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "h5py", "pillow", "matplotlib"),
    *("facenet-pytorch", "anny", "POT", "trimesh", "papermill", "dvc"),
)


def machine_facts():
    """Describe the machine and the moment, a dict of str to str; no name of machine or user."""
    return {
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def package_versions():
    """Return the versions of `PACKAGES` that are installed, a dict of str to str."""
    return {name: metadata.version(name) for name in PACKAGES}


def sources(params_file, lock_file):
    """Name what the run was made from.

    Parameters
    ----------
    params_file, lock_file : path-like
        The parameters, and DVC's lock, which the stages before the report have written.

    Returns
    -------
    dict of str to str
        SHA-256 of both files and the commit; what there is not is left out.
    """
    facts = {
        f"SHA-256 of {Path(path).name}": hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for path in (params_file, lock_file)
        if Path(path).is_file()
    }
    commit = _git("rev-parse", "HEAD")
    if commit:
        # what a run itself writes does not count
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "lib", "notebooks", "params.yaml")
        facts["commit"] = commit + (" with changes" if changed else "")
    return facts


def output_hashes(lock_file):
    """Read the MD5 of every output outside `reports/` from DVC's lock, a dict of str to str."""
    if not Path(lock_file).is_file():
        return {}
    stages = YAML(typ="safe").load(Path(lock_file))["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    return {path: md5 for path, md5 in outs.items() if not path.startswith("reports/")}


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(*arguments):
    """Ask git; an empty text where there is no repository or no git."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
