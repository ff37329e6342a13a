"""Has this environment every package that requirements files pin? Exit code 0: yes. Pip takes seconds to say so."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def missing(line, here):
    """Whether the package of a line, `name==version; marker`, is wanted here and not there."""
    pin, _, marker = line.partition("#")[0].partition(";")
    name, _, wanted = pin.strip().partition("==")
    if not name or (marker and not eval(marker, here)):
        return False
    try:
        return version(name).partition("+")[0] != wanted
    except PackageNotFoundError:
        return True


here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}
sys.exit(any(missing(line, here) for path in sys.argv[1:] for line in Path(path).read_text().splitlines()))
