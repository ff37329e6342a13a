"""Photographs as DVC watches them: it stops at a file that it cannot read, which a `.dvcignore` keeps from it."""

import os
import re
from pathlib import Path

from lib.core.errors import StudyError
from lib.core.files import printable, write_atomically
from lib.photos.files import access_problem

HEADING = "# what DVC cannot read among the photographs; `python -m lib.run --photos` renews all below this line\n"


def ignore_unreadable(folder):
    """Write what DVC cannot read below a folder into the `.dvcignore` beside it, and take out what it can read again.

    Return it (broken links, pipes, files without permission or with names that are no UTF-8; dict of Path to why), and
    a list of links to folders: their photographs are used, but DVC does not look whether they change. StudyError where
    there is such a file outside of the repository, where DVC looks for no `.dvcignore`.
    """
    folder = Path(os.path.abspath(folder))
    unreadable, linked = {}, []
    for place, folders, files in os.walk(folder):  # as DVC does
        linked += [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
        for path in (Path(place, name) for name in files):
            problem = access_problem(path)
            if problem or printable(path) != str(path):
                unreadable[path] = problem or "its name is no UTF-8"
    if not folder.is_relative_to(Path.cwd()):
        if unreadable:
            path, problem = next(iter(unreadable.items()))
            raise StudyError(
                f"DVC would stop at {len(unreadable)} files, such as {printable(path)} ({problem}). Take them away, or "
                f"link the folder into the repository and name the link: ln -s '{folder}' data/raw/mine"
            )
        return unreadable, linked
    ignored = folder.parent / ".dvcignore"
    before = ignored.read_text(encoding="utf-8") if ignored.is_file() else ""
    after = before.partition(HEADING)[0] + (HEADING if unreadable else "")
    after += "".join(f"/{_pattern(path.relative_to(folder.parent))}\n" for path in sorted(unreadable))
    if after != before:
        write_atomically(ignored, lambda part: part.write_text(after, encoding="utf-8"))
    return unreadable, linked


def _pattern(path):
    """A path as a line of `.dvcignore`, where some letters have a meaning; for what is no text `?` stands there."""
    text = re.sub(r"([\\*?\[\]!#])", r"\\\1", path.as_posix())
    return re.sub(r"[\udc80-\udcff\r\n]|\s(?=\s*$)", "?", text)
