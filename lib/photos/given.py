"""Photographs that a command names: files and folders of any kind, each under a name for its results."""

import os
import re
import unicodedata
from pathlib import Path

from lib.core.errors import StudyError
from lib.core.files import made_here, printable
from lib.photos.files import Photograph, access_problem, is_folder, iterate_tree

LONGEST_NAME = 200  # bytes, of the 255 that file systems take: endings are added


def find_photographs(places):
    """List files, and those of folders and sub-folders: dicts of photographs, and of why others are not read.

    Paths of photographs by the name of their results: the file's, with its folders before it where two are alike, a
    number behind it where these are alike too, and shortened where too long. Reasons by Path, without results of
    earlier runs. StudyError where there is no photograph.
    """
    photographs, others = {}, {}
    for place in map(Path, places):
        found = [_given(place)]
        if is_folder(place):
            found = [one for one in iterate_tree(place, place) if not made_here(one.path)]
            if all(one.problem for one in found):
                others[place] = "the folder holds no image file"
        for one in found:
            # links stay: their names are the people's, those of what they lead to need not be
            path = Path(os.path.abspath(one.path))
            if one.problem:
                others[path] = one.problem
            else:
                photographs[path] = None
    if not photographs:
        reasons = "".join(f"\n  {printable(path)}: {reason}" for path, reason in [*others.items()][-5:])
        raise StudyError(f"there is no photograph to read:{reasons}")
    return dict(zip(_names(photographs), photographs, strict=True)), others


def _given(path):
    """A file that the user names is read whatever its ending."""
    return Photograph(str(path.parent), path.name, path.name, access_problem(path))


def _names(paths):
    """Names of results that differ on any file system, in the order of the paths."""
    paths = [Path(re.sub(r"[\x00-\x1f\x7f]", "_", printable(path.relative_to(path.anchor)))) for path in paths]
    # the ending belongs to the name only where me.jpg lies beside me.png
    endings = [path.with_suffix("") for path in paths], paths
    depths = range(1, max(len(path.parts) for path in paths) + 1)
    names = (["-".join(path.parts[-depth:]) for path in ending] for ending in endings for depth in depths)
    return _numbered(max(names, key=lambda each: len({*map(_key, each)})))


def _key(name):
    """What file systems may take for the same name: in capitals, or with accents apart from their letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _numbered(names):
    taken = {}
    for name in names:
        name = shorter = name.encode()[-LONGEST_NAME:].decode(errors="ignore")
        while _key(name) in taken:
            taken[_key(shorter)] += 1
            name = f"{shorter}-{taken[_key(shorter)]}"
        taken[_key(name)] = 1
        yield os.fsdecode(name.encode())  # as a file name in any locale
