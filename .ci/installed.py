"""Has this environment every package that requirements files pin? Exit code 0: yes. Pip takes seconds to say so."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement  # pinned too: without it the answer is no


def missing(line):
    """Whether the package of a line, `name==version; marker`, is wanted here and not there."""
    line = line.partition("#")[0].strip()
    if not line:
        return False
    wanted = Requirement(line)
    try:
        return (not wanted.marker or wanted.marker.evaluate()) and version(wanted.name) not in wanted.specifier
    except PackageNotFoundError:
        return True


sys.exit(any(missing(line) for path in sys.argv[1:] for line in Path(path).read_text().splitlines()))
