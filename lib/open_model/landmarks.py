"""Named points of the open model, chosen among the vertices of MakeHuman's base mesh (`hm08`)."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from lib.open_model.mesh import vertex_parts
from lib.open_model.parts import Part

NAMED_POINTS = pd.read_csv(Path(__file__).with_name("landmarks.csv"), index_col="name")
"""The 68 points of 300-W (`IBUG_LANDMARKS`) and the tip of the chin: the `vertex` of the base mesh, or the place
between it and the `other`; `basel` is the Basel Face Model's name of the same point, where it has one."""


def find_landmarks(mesh, base):
    """Find the full mesh's vertex of each landmark, one that the light mesh has too: dict of name to vertex."""
    points = mesh.operator @ base.vertices[mesh.cage]
    candidates = mesh.light_rows[vertex_parts(mesh)[mesh.light_rows] <= Part.MOUTH]
    ends = mesh.cage_rows[np.searchsorted(mesh.cage, NAMED_POINTS[["vertex", "other"]])]
    nearest = candidates[cKDTree(points[candidates]).query(points[ends].mean(axis=1))[1]]
    landmarks = dict(zip(NAMED_POINTS.index, nearest.tolist()))
    landmarks |= {basel: landmarks[name] for name, basel in NAMED_POINTS["basel"].dropna().items()}
    for eye, side in enumerate(("right", "left")):
        pupil = np.flatnonzero((mesh.eye_angles[:, 0] == eye) & (mesh.eye_angles[:, 1] == 0))
        landmarks[f"{side}.eye.pupil.center"] = int(pupil[0])
    return landmarks
