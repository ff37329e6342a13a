"""Keeps pictures of real people out of git: a check before each commit (`.pre-commit-config.yaml`).

Figures of simulated people belong to the repository. As soon as `photos.source` is another one, the same files show
real people.
"""

import sys
from pathlib import PurePath

from lib.core.errors import StudyError
from lib.core.params import load_params

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".html", ".ipynb")


def pictures_of_people(files, source):
    """Choose the files that show people who have not agreed to be published."""
    folders = ("data",) if source == "simulated" else ("data", "reports")
    return [file for file in files if PurePath(file).suffix.lower() in PICTURES and PurePath(file).parts[0] in folders]


def main(files):
    """Refuse a commit of such files; return the exit code."""
    try:
        found = pictures_of_people(files, load_params().photos.source)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    for file in found:
        print(f"{file} shows photographs of people: do not commit it (git restore --staged {file})", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
