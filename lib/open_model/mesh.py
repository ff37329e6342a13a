"""The mesh of the open face model: MakeHuman's head, cut to the face, refined, with eyeballs and a closed mouth cavity.

Every vertex is a fixed linear combination of the vertices of a coarse cage (`FaceMesh.operator`), so that shapes are
sampled, aligned and analysed on some five thousand cage vertices and refined only at the end. The cut, the order of the
vertices and the texture's layout are settled on the base mesh, whatever people are drawn.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from lib.open_model.parts import Part, connected_parts, eye_piece, skin_piece, teeth_piece
from lib.rendering.vertices import mirror_vertices

RIM_ROUNDING = 8.0  # how gently (mm) the two planes of the cut pass over into one another
UV_MARGIN = 0.01  # between the islands of the texture, as a share of its width


@dataclass(frozen=True)
class FaceMesh:
    """Topology of the open face model, at both resolutions: N full vertices, n light ones, C of the cage.

    `cage` (C,) are the vertices of the base mesh that shape the face, `cage_mirror` those at the mirrored places,
    `cage_rows` the full vertices that they become (-1: none); `operator` (N, C) makes the full mesh's vertices, in the
    order of a space-filling curve. `parts` is the `Part` of each triangle, which are counter-clockwise from outside;
    `uv` (U, 2) in [0, 1], v upwards, has several rows for a vertex on a seam; `texture_coordinates` (N, 2) are the base
    mesh's own, for its masks, NaN off the skin; `eye_angles` (N, 3) eye (0 right, 1 left), angle from the pupil and
    around it in radians, NaN off the eyes. `light_rows` (n,) are the full vertices of the light mesh.
    """

    cage: np.ndarray
    cage_mirror: np.ndarray
    cage_rows: np.ndarray
    operator: sparse.csr_matrix
    triangles: np.ndarray
    parts: np.ndarray
    uv: np.ndarray
    uv_triangles: np.ndarray
    texture_coordinates: np.ndarray
    eye_angles: np.ndarray
    light_rows: np.ndarray
    light_triangles: np.ndarray
    light_uv_triangles: np.ndarray
    mirror: np.ndarray


def assemble(base):
    """Build the face from the base mesh."""
    heights = _heights(base.vertices)
    faces, face_parts, teeth = _choose_faces(base, heights)
    eye_vertices = [np.unique(base.faces[base.groups == f"helper-{side}-eye"]) for side in "rl"]
    cage = np.unique(np.concatenate([base.faces[faces].ravel(), base.faces[teeth].ravel(), *eye_vertices]))
    pieces = [skin_piece(base, cage, faces, face_parts, heights[cage]), teeth_piece(base, cage, teeth)]
    for side, vertices in enumerate(eye_vertices):
        pieces.append(eye_piece(base.vertices[vertices], np.searchsorted(cage, vertices), len(cage), side))

    def joined(name, counted=None):
        starts = np.cumsum([0] + [piece[counted].shape[0] if counted else 0 for piece in pieces])
        return np.concatenate([piece[name] + start for piece, start in zip(pieces, starts)])

    operator = sparse.vstack([piece["operator"] for piece in pieces]).tocsr()
    triangles, light_triangles = joined("triangles", "operator"), joined("light_triangles", "operator")
    used, row = _along_a_curve(operator @ base.vertices[cage], triangles)
    order, light_order = (np.argsort(row[each].min(axis=1), kind="stable") for each in (triangles, light_triangles))
    light_rows, light_corners = np.unique(row[light_triangles[light_order]], return_inverse=True)
    uv, uv_triangles, parts = joined("uv"), joined("uv_triangles", "uv"), joined("parts")
    own = np.full((operator.shape[0], 2), np.nan)
    skin = parts == Part.SKIN
    own[triangles[skin]] = uv[uv_triangles[skin]]
    return FaceMesh(
        cage=cage,
        cage_mirror=np.searchsorted(cage, base.mirror[cage]),
        cage_rows=row[: len(cage)],
        operator=operator[used].tocsr(),
        triangles=row[triangles[order]],
        parts=parts[order],
        uv=_pack(uv, uv_triangles),
        uv_triangles=uv_triangles[order],
        texture_coordinates=own[used],
        eye_angles=joined("eye_angles")[used],
        light_rows=light_rows,
        light_triangles=light_corners.reshape(-1, 3),
        light_uv_triangles=joined("light_uv_triangles", "uv")[light_order],
        mirror=mirror_vertices(operator[used] @ base.vertices[cage]),
    )


def _heights(points):
    """How far inside the rim places on the base mesh lie (mm): at the back of the head and on the neck."""
    _, y, z = points.T
    planes = np.stack([z + 0.2 * y + 60, y + 0.12 * z + 100])
    least = planes.min(axis=0)
    return least - RIM_ROUNDING * np.log(np.exp((least - planes) / RIM_ROUNDING).sum(axis=0))


def _choose_faces(base, heights):
    """Pick quads of the head: skin, the rim of the lids, the mouth cavity; and of the teeth."""
    centres = base.vertices[base.faces].mean(axis=1)
    head, mouth, sockets, neck = _islands(base, centres)
    skin = (head | neck) & (heights[base.faces] > 0).any(axis=1)
    on_head = np.zeros(len(base.vertices), bool)
    on_head[base.faces[head]] = True
    rim = sockets & on_head[base.faces].any(axis=1)
    mouth &= centres[:, 2] > 62
    parts = np.select([skin, rim, mouth], [Part.SKIN, Part.LID_RIM, Part.MOUTH], default=-1)
    chosen = np.flatnonzero(parts >= 0)
    teeth = np.isin(base.groups, ["helper-upper-teeth", "helper-lower-teeth"]) & (np.abs(centres[:, 0]) < 20)
    return chosen, parts[chosen], np.flatnonzero(teeth)


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


def _along_a_curve(points, triangles):
    """Vertices that triangles use in the order of a Morton curve, and the new number of each vertex (-1: unused)."""
    used = np.unique(triangles)
    places = points[used] - points[used].min(axis=0)
    places = (places / places.max() * 1023).astype(np.int64)
    code = sum((places[:, axis] >> bit & 1) << (3 * bit + axis) for bit in range(10) for axis in range(3))
    used = used[np.argsort(code, kind="stable")]
    row = np.full(len(points), -1)
    row[used] = np.arange(len(used))
    return used, row


def _pack(uv, triangles):
    """Lay out the islands of the texture in the unit square: the face upright on top, all others in one row below."""
    island = connected_parts(triangles, len(uv))
    names, sizes = np.unique(island[triangles[:, 0]], return_counts=True)
    face = names[sizes.argmax()]
    # the base mesh's face lies on its side, its chin towards +u
    packed = np.where((island == face)[:, None], np.stack([uv[:, 1], -uv[:, 0]], axis=1), uv)
    boxes = {name: (packed[island == name].min(axis=0), np.ptp(packed[island == name], axis=0)) for name in names}
    low, size = boxes.pop(face)
    growth = (1 - UV_MARGIN * (len(boxes) + 1)) / sum(width for _, (width, _) in boxes.values())
    row_height = growth * max(height for _, (_, height) in boxes.values())
    left = UV_MARGIN
    for name, (corner, (width, _)) in boxes.items():
        packed[island == name] = (packed[island == name] - corner) * growth + [left, UV_MARGIN]
        left += width * growth + UV_MARGIN
    face_growth = min(1 - 2 * UV_MARGIN, (1 - 3 * UV_MARGIN - row_height) / size[1] * size[0]) / size[0]
    corner = [0.5 - 0.5 * size[0] * face_growth, 1 - UV_MARGIN - size[1] * face_growth]
    packed[island == face] = (packed[island == face] - low) * face_growth + corner
    return packed


def vertex_parts(mesh):
    """Part of each vertex (N,): vertices between parts count to the skin first, then to the lower part."""
    parts = np.full(mesh.operator.shape[0], len(Part))
    np.minimum.at(parts, mesh.triangles, mesh.parts[:, None])
    return parts


def border(mesh, part):
    """Vertices between the skin and another part: the lip line (mouth), the lid margins (lid rim)."""
    return np.intersect1d(mesh.triangles[mesh.parts == Part.SKIN], mesh.triangles[mesh.parts == part])
