"""Morph targets of MakeHuman's head (CC0): `derivations/morph_targets.py` makes their files of MakeHuman's own."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from lib.core.errors import StudyError

DISPLACEMENTS = Path(__file__).with_name("morph_targets.npz")
"""Displacements `moves` (T, V, 3), float32 mm, of `vertices` (V,) of the base mesh by the targets `names` (T,);
`bump_places` (34, 3) mm on the left side of the face, about which smooth displacements fade."""

GROUPS = Path(__file__).with_name("morph_targets.json")
"""Names by what they are for. `sliders`: name, whether the face has two such, targets for more and for less (None: no
opposite). `macros`: age, sex, ancestry, build. `asymmetries`. `expressions`: name, and for each side that moves its
targets: one, or three by ancestry."""


@cache
def load_groups():
    """Read `GROUPS`."""
    return json.loads(GROUPS.read_text(encoding="utf-8"))


def load_targets(names, vertices):
    """Look up displacements (len(names), n, 3), float32 mm, of vertices (n,) by targets; StudyError: not stored."""
    stored = morph_targets()
    rows = {name: row for row, name in enumerate(stored["names"])}
    lacking = [*({*names} - rows.keys()), *np.setdiff1d(vertices, stored["vertices"])]
    if lacking:
        raise StudyError(f"{DISPLACEMENTS} lacks {lacking[0]}: run python -m derivations.morph_targets")
    return stored["moves"][[rows[name] for name in names]][:, np.searchsorted(stored["vertices"], vertices)]


@cache
def morph_targets():
    """Read the arrays of `DISPLACEMENTS` by name."""
    with np.load(DISPLACEMENTS) as file:
        return dict(file)
