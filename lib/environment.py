"""Is everything installed? `python -m lib.environment requirements.txt` says what is not, and exits with 1.

Uses the standard library only, since it runs before anything is installed.
"""

import platform
import re
import sys
from importlib import metadata
from pathlib import Path

LINE = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.*))?$")


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
        if match["marker"] and (sys.platform, platform.machine()) != ("linux", "x86_64"):
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


def main(paths):
    """Print what is missing; return the exit code."""
    problems = [problem for path in paths for problem in missing_packages(Path(path).read_text().splitlines())]
    print("\n".join(problems) or "everything is installed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
