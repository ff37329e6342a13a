"""Has this environment every package that requirements files pin? Exit code 0: yes. Pip takes seconds to say so."""

import re
import sys
from pathlib import Path


def normal(text):
    """A name and a version in one spelling."""
    return re.sub(r"[-_.=]+", "-", text).lower()


# the folders' names tell most of it; to read what is in them takes ten times as long
KNOWN = {normal(path.stem) for folder in sys.path for path in Path(folder).glob("*.dist-info")}


def missing(line):
    """Whether the package of a line, `name==version; marker`, is wanted here and not there."""
    line = line.partition("#")[0].strip()
    if not line or normal(line.partition(";")[0].strip()) in KNOWN:
        return False
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement  # pinned too: without it the answer is no

    wanted = Requirement(line)
    try:
        return (not wanted.marker or wanted.marker.evaluate()) and version(wanted.name) not in wanted.specifier
    except PackageNotFoundError:
        return True


sys.exit(any(missing(line) for path in sys.argv[1:] for line in Path(path).read_text().splitlines()))
