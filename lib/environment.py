"""Is everything installed? `python -m lib.environment requirements.txt` says what is not, and exits with 1.

With `--room FOLDER` it says instead whether there is room to install it there. Uses the standard library only, since
it runs before anything is installed.
"""

import os
import platform
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

# bytes: all packages, and their wheels until they are installed; elsewhere, without CUDA, a third of both
INSTALLED, WHEELS = 9_000_000_000, 4_300_000_000
LINE = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.*))?$")


def _wants_cuda():
    return (sys.platform, platform.machine()) == ("linux", "x86_64")


def missing_packages(lines, installed=None):
    """Compare pinned requirements with what is installed.

    Parameters
    ----------
    lines : iterable of str
        `name==version`, optionally with the marker `; sys_platform == "linux" and platform_machine == "x86_64"` (the
        only one in use); comments and empty lines are passed over.
    installed : callable or None
        Maps a name to its installed version or raises `metadata.PackageNotFoundError`; None asks Python.

    Returns
    -------
    list of str
        One line for each package that is missing or has another version.

    Raises
    ------
    ValueError
        A line is not a pinned requirement.
    """
    installed = installed or metadata.version
    problems = []
    for line in lines:
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = LINE.match(line)
        if not match:
            raise ValueError(f"not a pinned requirement: {line!r}")
        if match["marker"] and not _wants_cuda():
            continue
        name, wanted = match["name"], match["version"]
        try:
            # a build of another origin (2.8.0+cpu) is the same version
            found = installed(name).split("+")[0]
        except metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed, {wanted} is wanted")
            continue
        if found != wanted:
            problems.append(f"{name} is {found}, {wanted} is wanted")
    return problems


def missing_room(needs):
    """What file systems lack for an installation, before minutes are spent on one that ends in a full disk.

    Parameters
    ----------
    needs : dict of str to int
        Existing folder to the bytes that are to be written there; folders of one file system add up.

    Returns
    -------
    list of str
        One line for each file system with less free space than that.
    """
    file_systems = {}
    for folder in needs:
        file_systems.setdefault(os.stat(folder).st_dev, []).append(folder)
    problems = []
    for folders in file_systems.values():
        free, total = shutil.disk_usage(folders[0]).free, sum(needs[folder] for folder in folders)
        if free < total:
            sizes = f"{free / 1e9:.1f} GB free, the installation wants {total / 1e9:.1f} GB"
            problems.append(f"{' and '.join(folders)}: {sizes}; make room")
    return problems


def main(arguments):
    """Print what is missing; return the exit code."""
    if arguments[:1] == ["--room"]:
        share = 1 if _wants_cuda() else 3
        problems = missing_room({arguments[1]: INSTALLED // share, tempfile.gettempdir(): WHEELS // share})
    else:
        problems = [line for path in arguments for line in missing_packages(Path(path).read_text().splitlines())]
    print("\n".join(problems) or "everything is there")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
