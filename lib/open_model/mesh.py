"""The mesh of the open face model: MakeHuman's head, cut to the face, refined, with eyeballs and a closed mouth cavity.

Every vertex is a fixed linear combination of the vertices of a coarse cage (`FaceMesh.operator`), so that shapes are
sampled, aligned and analysed on some five thousand cage vertices and refined only at the end.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from scipy.spatial import cKDTree

from lib.open_model.parts import Part, connected_parts, eye_piece, open_edges, skin_piece, teeth_piece

RIM_SMOOTHING_STEPS = 12


@dataclass(frozen=True)
class FaceMesh:
    """Topology of the open face model, at both resolutions.

    Attributes
    ----------
    cage : ndarray (C,)
        Vertices of the base mesh that shape the face.
    cage_mirror : ndarray (C,)
        The cage vertex at the mirrored place.
    operator : csr_matrix (N, C)
        Rows make the full mesh's vertices from the cage.
    triangles, parts : ndarray (T, 3), (T,)
        The full mesh, counter-clockwise from outside, and the `Part` of each triangle.
    texture_coordinates : ndarray (N, 2)
        Of the skin, for the masks; NaN elsewhere.
    eye_angles : ndarray (N, 3)
        Eye (0 right, 1 left), angle from the pupil and angle around it in radians; NaN off the eyeballs.
    light_rows, light_triangles : ndarray (n,), (t, 3)
        The light mesh: vertices taken from the full one, and its own triangles over them.
    mirror : ndarray (N,) or None
        The full vertex at the mirrored place; None before the mesh is cut.
    """

    cage: np.ndarray
    cage_mirror: np.ndarray
    operator: sparse.csr_matrix
    triangles: np.ndarray
    parts: np.ndarray
    texture_coordinates: np.ndarray
    eye_angles: np.ndarray
    light_rows: np.ndarray
    light_triangles: np.ndarray
    light_parts: np.ndarray
    mirror: np.ndarray | None = None


def assemble(base):
    """Build the refined head with its inner parts, uncut: `mirror` is None and `light_rows` are all rows."""
    faces, face_parts, teeth = _choose_faces(base)
    eye_vertices = [np.unique(base.faces[base.groups == f"helper-{side}-eye"]) for side in "rl"]
    cage = np.unique(np.concatenate([faces.ravel(), teeth.ravel(), *eye_vertices]))
    to_cage = np.full(len(base.vertices), -1)
    to_cage[cage] = np.arange(len(cage))
    pieces = [skin_piece(base, cage, to_cage[faces], face_parts), teeth_piece(to_cage[teeth], len(cage))]
    for side, vertices in enumerate(eye_vertices):
        pieces.append(eye_piece(base.vertices[vertices], to_cage[vertices], len(cage), side))
    starts = np.cumsum([0] + [piece.operator.shape[0] for piece in pieces])
    operator = sparse.vstack([piece.operator for piece in pieces]).tocsr()
    return FaceMesh(
        cage=cage,
        cage_mirror=to_cage[base.mirror[cage]],
        operator=operator,
        triangles=np.concatenate([piece.triangles + start for piece, start in zip(pieces, starts)]),
        parts=np.concatenate([piece.parts for piece in pieces]),
        texture_coordinates=np.concatenate([piece.texture_coordinates for piece in pieces]),
        eye_angles=np.concatenate([piece.eye_angles for piece in pieces]),
        light_rows=np.arange(operator.shape[0]),
        light_triangles=np.concatenate([piece.light_triangles + start for piece, start in zip(pieces, starts)]),
        light_parts=np.concatenate([piece.light_parts for piece in pieces]),
    )


def _choose_faces(base):
    """Pick quads of the head: skin, the rim of the lids, the mouth cavity; and of the teeth."""
    centres = base.vertices[base.faces].mean(axis=1)
    x, y, z = centres.T
    head, mouth, sockets, neck = _islands(base, centres)
    skin = (head | (neck & (y > -100))) & (z > -55) & (y < 100) & (y - 0.5 * z < 80) & (y + 0.45 * z > -115)
    on_head = np.zeros(len(base.vertices), bool)
    on_head[base.faces[head]] = True
    rim = sockets & on_head[base.faces].any(axis=1)
    mouth &= z > 62
    parts = np.select([skin, rim, mouth], [Part.SKIN, Part.LID_RIM, Part.MOUTH], default=-1)
    chosen = np.flatnonzero(parts >= 0)
    teeth = np.isin(base.groups, ["helper-upper-teeth", "helper-lower-teeth"]) & (np.abs(x) < 17)
    return base.faces[chosen], parts[chosen], base.faces[teeth]


def _islands(base, centres):
    """Tell head, mouth cavity, eye sockets and neck apart: each is an island of the texture coordinates."""
    body = base.groups == "body"
    components = connected_parts(base.texture_faces[body], len(base.texture_coordinates))
    island = np.full(len(base.faces), -1)
    island[body] = components[base.texture_faces[body, 0]]
    names = np.unique(island[body])
    middle = {name: centres[island == name].mean(axis=0) for name in names}
    highest = sorted(names, key=lambda name: -middle[name][1])
    sockets = [name for name in highest[:4] if abs(middle[name][0]) > 10]
    central = sorted(set(highest[:4]) - set(sockets), key=lambda name: -(island == name).sum())
    torso = next(name for name in highest[4:] if abs(middle[name][0]) < 10)
    return island == central[0], island == central[1], np.isin(island, sockets), island == torso


def cut(mesh, reference):
    """Trim the head along a smooth curve drawn on a symmetric cage (C, 3), mm; drop unused vertices."""
    inside = _inside_face(mesh.operator @ reference) | np.isfinite(mesh.eye_angles[:, 0])
    triangles, parts = _trim(mesh.triangles, mesh.parts, inside)
    light_triangles, light_parts = _trim(mesh.light_triangles, mesh.light_parts, inside)
    operator = _rim_smoother(triangles, parts, len(inside)) @ mesh.operator
    used = np.unique(np.concatenate([triangles.ravel(), light_triangles.ravel()]))
    renumber = np.full(len(inside), -1)
    renumber[used] = np.arange(len(used))
    light_rows, light_corners = np.unique(renumber[light_triangles], return_inverse=True)
    operator = operator[used].tocsr()
    return FaceMesh(
        cage=mesh.cage,
        cage_mirror=mesh.cage_mirror,
        operator=operator,
        triangles=renumber[triangles],
        parts=parts,
        texture_coordinates=mesh.texture_coordinates[used],
        eye_angles=mesh.eye_angles[used],
        light_rows=light_rows,
        light_triangles=light_corners.reshape(-1, 3),
        light_parts=light_parts,
        mirror=_mirror_map(operator @ reference),
    )


def _inside_face(points):
    """The face: from behind the ears, below the hairline, above the throat."""
    x, y, z = points.T
    return (z > -30 + 0.15 * np.maximum(-y, 0)) & (y - 0.50 * z < 66) & (y < 84 - 0.004 * x**2) & (y + 0.45 * z > -86)


def _trim(triangles, parts, inside):
    """Keep skin inside the curve, and of it only the piece that holds the face, with all inner parts."""
    keep = (parts != Part.SKIN) | inside[triangles].all(axis=1)
    triangles, parts = triangles[keep], parts[keep]
    component = connected_parts(triangles, len(inside))[triangles[:, 0]]
    face = np.bincount(component[parts == Part.SKIN]).argmax()
    keep = (component == face) | (parts >= Part.TEETH)
    return triangles[keep], parts[keep]


def _rim_smoother(triangles, parts, vertex_count):
    """Linear map that moves each vertex of the cut towards its two neighbours along the cut, several times."""
    edges = open_edges(triangles, parts, Part.SKIN)
    both = np.concatenate([edges, edges[:, ::-1]])
    neighbours = sparse.coo_matrix((np.ones(len(both)), both.T), (vertex_count, vertex_count)).tocsr()
    degree = np.asarray(neighbours.sum(axis=1)).ravel()
    share = 0.5 * (degree == 2)
    step = sparse.diags(1 - share) + sparse.diags(share / np.maximum(degree, 1)) @ neighbours
    smoother = sparse.eye(vertex_count, format="csr")
    for _ in range(RIM_SMOOTHING_STEPS):
        smoother = step @ smoother
    return smoother


def _mirror_map(points):
    distances, mirror = cKDTree(points).query(points * [-1, 1, 1])
    if distances.max() > 1e-6 or not np.array_equal(mirror[mirror], np.arange(len(points))):
        raise ValueError(
            f"the mesh is not mirror-symmetric: a vertex lies {distances.max():.3g} mm off its mirror image"
        )
    return mirror


def vertex_parts(mesh):
    """Part of each vertex (N,): vertices between parts count to the skin first, then to the lower part."""
    parts = np.full(mesh.operator.shape[0], len(Part))
    np.minimum.at(parts, mesh.triangles, mesh.parts[:, None])
    return parts


def border(mesh, part):
    """Vertices between the skin and another part: the lip line (mouth), the lid margins (lid rim)."""
    return np.intersect1d(mesh.triangles[mesh.parts == Part.SKIN], mesh.triangles[mesh.parts == part])


def find_landmarks(mesh, points, lips):
    """Find landmarks (name to vertex) on the reference (N, 3) among vertices that both resolutions have."""
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
