"""Named landmarks of the open face model, with the Basel Face Model's names."""

import numpy as np

from lib.open_model.mesh import Part


def vertex_parts(mesh):
    """Part of each vertex (N,): vertices between parts count to the skin first, then to the lower part."""
    parts = np.full(mesh.operator.shape[0], len(Part))
    np.minimum.at(parts, mesh.triangles, mesh.parts[:, None])
    return parts


def border(mesh, part):
    """Vertices between the skin and another part: the lip line (mouth), the lid margins (lid rim)."""
    return np.intersect1d(mesh.triangles[mesh.parts == Part.SKIN], mesh.triangles[mesh.parts == part])


def find_landmarks(mesh, points, lips):
    """Find the landmarks on the reference face, among vertices that both resolutions have.

    Parameters
    ----------
    mesh : FaceMesh
    points : ndarray (N, 3)
        Mirror-symmetric reference, mm.
    lips : ndarray (N,)
        How much a vertex belongs to the lips, [0, 1].

    Returns
    -------
    dict of str to int
        Name to vertex of the full mesh.
    """
    light = np.zeros(len(points), bool)
    light[mesh.light_rows] = True
    skin = light & (vertex_parts(mesh) == Part.SKIN)
    x, y, z = points.T
    middle = np.flatnonzero(skin & (np.abs(x) < 1e-3))
    tip = middle[z[middle].argmax()]
    mouth_line = border(mesh, Part.MOUTH)
    mouth_line = mouth_line[light[mouth_line]]
    mouth_height = y[mouth_line].mean()
    lip_middle = middle[(lips[middle] > 0.4) & (z[middle] > z[mouth_line].max() - 8)]
    chin = middle[(y[middle] < mouth_height - 22) & (y[middle] > mouth_height - 45)]
    landmarks = {
        "center.nose.tip": tip,
        "center.chin.tip": chin[z[chin].argmax()],
        "center.lips.upper.outer": lip_middle[y[lip_middle].argmax()],
        "center.lips.lower.outer": lip_middle[y[lip_middle].argmin()],
        "right.lips.corner": mouth_line[x[mouth_line].argmin()],
        "left.lips.corner": mouth_line[x[mouth_line].argmax()],
    }
    lid_margin = border(mesh, Part.LID_RIM)
    for eye, (side, sign) in enumerate((("right", -1), ("left", 1))):
        margin = lid_margin[light[lid_margin] & (x[lid_margin] * sign > 0)]
        pupil = np.flatnonzero((mesh.eye_angles[:, 0] == eye) & (mesh.eye_angles[:, 1] == 0))
        landmarks[f"{side}.eye.corner_inner"] = margin[np.abs(x[margin]).argmin()]
        landmarks[f"{side}.eye.corner_outer"] = margin[np.abs(x[margin]).argmax()]
        landmarks[f"{side}.eye.pupil.center"] = pupil[0]
    return {name: int(vertex) for name, vertex in landmarks.items()}
