"""Derive `lib/open_model/morph_targets.npz` and `.json`: MakeHuman's morph targets, on the head and sorted by use.

In a few seconds, after an edit here and after `derivations.base_mesh`:

    python -m derivations.morph_targets
"""

import json
import re
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from derivations.makehuman import load_base_mesh, load_target, target_names
from derivations.survey import HeadSurvey
from lib.open_model.mesh import load_mesh
from lib.open_model.shape import ANCESTRIES, BUMPS, Traits, macro_weights
from lib.open_model.targets import DISPLACEMENTS, GROUPS

SLIDER_FOLDERS = "head", "eyes", "nose", "mouth", "chin", "cheek", "forehead", "ears", "eyebrows", "neck"
NOT_SLIDERS = re.compile("head-trans|head-angle|neck-(trans|scale-vert|back)|measure-|eyebrows-trans-(back|for)")
OPPOSITES = "incr decr", "up down", "out in", "forward backward", "convex concave", "compress uncompress"

LEFT_OUT = {"tongueOut", "mouthClose"}  # there is no tongue, and neutral lips are closed already
ONE_SIDED = {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}


class Slider(NamedTuple):
    """A pair of opposite morph targets, or one that has no opposite; `name` is that of both sides of the face."""

    name: str
    sided: bool
    more: str
    less: str | None


def slider_pairs():
    """Pair MakeHuman's targets to sliders: list of `Slider`."""
    targets = [name for folder in SLIDER_FOLDERS for name in target_names(folder) if not NOT_SLIDERS.search(name)]
    endings = [each for pair in map(str.split, OPPOSITES) for each in (pair, pair[::-1])]
    done, sliders = set(), []
    for target in targets:
        if target in done:
            continue
        opposites = [target.removesuffix(one) + other for one, other in endings if target.endswith(f"-{one}")]
        opposite = next((name for name in opposites if name in targets), None)
        done |= {target, opposite}
        stem = target.partition("/")[2]
        sided = stem.startswith(("l-", "r-"))
        sliders.append(Slider(stem[2:] if sided else stem, sided, target, opposite))
    return sliders


def face_unit_actions():
    """ARKit-like units, left and right joined: list of (name, one tuple of targets per side)."""
    actions = []
    for target in target_names("faceunits"):
        name = target.partition("/")[2]
        if name in LEFT_OUT or (name.endswith("Right") and name not in ONE_SIDED):
            continue
        sides = [(target,)]
        if name.endswith("Left") and name not in ONE_SIDED:
            other = name.removesuffix("Left")
            # eyes look to the same side together: in for one is out for the other
            swapped = {"eyeLookIn": "eyeLookOut", "eyeLookOut": "eyeLookIn"}.get(other, other)
            sides.append((f"faceunits/{swapped}Right",))
        actions.append((name, sides))
    return actions


def makehuman_actions():
    """MakeHuman's own actions, in three variants, one per ancestry: list as of `face_unit_actions`."""
    actions = []
    for target in target_names("expression/units/caucasian"):
        name = target.rpartition("/")[2]
        if "right" in name:
            continue
        both = [name] + ([name.replace("left", "right")] if "left" in name else [])
        actions.append((name, [tuple(f"expression/units/{kind}/{side}" for kind in ANCESTRIES) for side in both]))
    return actions


def target_groups():
    """Names of targets by what they are for: what `lib.open_model.targets.load_groups` reads."""
    available, anyone = set(target_names("macrodetails")), Traits(0.5, 0.5, (1 / 3, 1 / 3, 1 / 3), 0.5, 0.5)
    return {
        "sliders": slider_pairs(),
        # some memberships have no target: an average build, for instance, is the base mesh itself
        "macros": [name for name in macro_weights(anyone) if name in available],
        "asymmetries": [name for name in target_names("asym") if "asymm" not in name],
        "expressions": face_unit_actions() + makehuman_actions(),
    }


def displacements(groups):
    """Arrays to store: what targets do to the vertices of the face and to those that the survey measures."""
    names = {name for slider in groups["sliders"] for name in (slider.more, slider.less) if name}
    names |= {*groups["macros"], *groups["asymmetries"]}
    names |= {name for _, sides in groups["expressions"] for side in sides for name in side}
    names = sorted(names)
    vertices = np.union1d(load_mesh().cage, HeadSurvey().vertices)
    return {
        "names": np.array(names),
        "vertices": vertices.astype(np.uint16),
        "moves": np.stack([load_target(name, vertices) for name in names]),
        "bump_places": bump_places(),
    }


def bump_places():
    """Places (`BUMPS`, 3) mm spread over the left side of the face, from which smooth displacements fade."""
    base = load_base_mesh()
    skin = base.vertices[np.unique(base.faces[base.groups == "body"])]
    front = skin[(skin[:, 2] > 30) & (np.abs(skin[:, 1]) < 95) & (skin[:, 0] >= 0)]
    centres = front[[0]]
    for _ in range(BUMPS - 1):
        centres = np.r_[centres, front[[cKDTree(centres).query(front)[0].argmax()]]]
    return centres


def main():
    """Derive and write the files."""
    groups = target_groups()
    np.savez_compressed(DISPLACEMENTS, **displacements(groups))
    lines = {name: ",\n".join(map(json.dumps, entries)) for name, entries in groups.items()}
    text = ",\n".join(f'"{name}": [\n{entries}\n]' for name, entries in lines.items())
    GROUPS.write_text("{\n" + text + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
