"""Derive `lib/open_model/base_mesh.npz` and `landmarks.csv`: MakeHuman's head as the mesh of the open face model.

The head is cut to the face and refined, with eyeballs and a closed mouth cavity; then texture coordinates are laid out,
vertices are sorted, and landmarks and lips are found. The cut, the order of the vertices and the texture's layout are
settled on the base mesh, whatever people are drawn. In a few seconds, after an edit here, the first of the derivations
of the open model (docs/face-model.md, "Mesh"):

    python -m derivations.base_mesh
"""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sparse
from scipy.spatial import cKDTree

from derivations.makehuman import load_base_mesh, sample_mask
from derivations.mesh_pieces import connected_parts, eye_piece, skin_piece, teeth_piece
from lib.open_model.lips import COLUMNS, facing_edges, nearest_columns
from lib.open_model.mesh import BASE_MESH, LANDMARKS, FaceMesh, Part, vertex_parts
from lib.rendering.vertices import mirror_vertices

RIM_ROUNDING = 8.0  # how gently (mm) the two planes of the cut pass over into one another
UV_MARGIN = 0.01  # between the islands of the texture, as a share of its width
LIP_HALF_WIDTH = 23.5  # mm from the middle: skin farther out is no lip that could gape, as the corners are closed

POINTS = pd.read_csv(Path(__file__).with_name("landmarks.csv"), index_col="name")
"""Landmarks chosen on MakeHuman's base mesh (`hm08`): a `vertex`, or the place between it and the `other`; `basel` is
the Basel Face Model's name of the same point, where it has one."""


def assemble(base):
    """Build the face from the base mesh: `FaceMesh`, and the table of its landmarks."""
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
    # MakeHuman's masks are in the base mesh's own texture coordinates
    own = np.full((operator.shape[0], 2), np.nan)
    skin = parts == Part.SKIN
    own[triangles[skin]] = uv[uv_triangles[skin]]
    masks = {name: sample_mask(name, own[used]) for name in ("lips", "eyelids", "ears")}
    operator, triangles, parts = operator[used].tocsr(), row[triangles[order]], parts[order]
    points = operator @ base.vertices[cage]
    upper_lip, lower_lip = _lips(points, triangles[parts == Part.SKIN], masks["lips"])
    surface = np.isin(np.arange(len(cage)), operator[np.unique(triangles[parts <= Part.MOUTH])].indices)
    mesh = FaceMesh(
        cage=cage,
        base=base.vertices[cage],
        cage_mirror=np.searchsorted(cage, base.mirror[cage]),
        operator=operator,
        triangles=triangles,
        parts=parts,
        uv=_pack(uv, uv_triangles),
        uv_triangles=uv_triangles[order],
        light_rows=light_rows,
        light_triangles=light_corners.reshape(-1, 3),
        light_uv_triangles=joined("light_uv_triangles", "uv")[light_order],
        eye_angles=joined("eye_angles")[used],
        jaw=_jaws(base, cage),
        lip_middle=np.searchsorted(cage, POINTS.loc[["ibug.63", "ibug.67"], "vertex"]),
        **masks,
        mirror=mirror_vertices(points),
        upper_lip=upper_lip,
        lower_lip=lower_lip,
        lip_moves=_lip_moves(base.vertices[cage], surface, points[upper_lip], points[lower_lip]),
    )
    return mesh, _landmarks(mesh, points, row[: len(cage)])


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


def _jaws(base, cage):
    """Which teeth each vertex of the cage belongs to (C,): 1 the upper ones, 2 the lower ones, 0 none."""
    upper, lower = (np.isin(cage, base.faces[base.groups == f"helper-{jaw}-teeth"]) for jaw in ("upper", "lower"))
    return upper + 2 * lower


def _lips(points, skin, mask):
    """Vertices of the upper and the lower lip: the two largest pieces of the skin's triangles under the lips' mask."""
    is_lip = (mask > 0.15) & (np.abs(points[:, 0]) < LIP_HALF_WIDTH)
    triangles = skin[is_lip[skin].all(axis=1)]
    component = connected_parts(triangles, len(points))
    largest = np.bincount(component[triangles[:, 0]]).argsort()[::-1][:2]
    lips = [np.flatnonzero(component == name) for name in largest]
    return sorted(lips, key=lambda lip: -points[lip, 1].mean())


def _lip_moves(cage, is_surface, upper, lower):
    """How far each cage vertex of the surface follows the lips: half at the line where they meet, fading around it."""
    low, high = facing_edges(upper[:, 1], lower[:, 1], nearest_columns(upper[:, 0]), nearest_columns(lower[:, 0]))
    line, depth = 0.5 * (low + high), upper[:, 2].max() - 6
    above = cage[:, 1] - np.interp(cage[:, 0], COLUMNS, line)
    x = np.linspace(-26, 26, 60)
    contact = np.c_[x, np.interp(x, COLUMNS, line), np.full(len(x), depth)]
    offsets = (cage[:, None] - contact) * [1, 1, 0.5]
    distance = np.linalg.norm(offsets, axis=2).min(axis=1)
    fade = np.exp(-0.5 * (distance / 6) ** 2) * np.clip((27 - np.abs(cage[:, 0])) / 5, 0, 1)
    return 0.5 * np.sign(above) * np.where(is_surface & (distance < 20) & (np.abs(above) >= 0.05), fade, 0.0)


def _landmarks(mesh, points, cage_rows):
    """The full mesh's vertex of each landmark, one that the light mesh has too; the cage becomes `cage_rows` (C,)."""
    part = vertex_parts(mesh)
    candidates = mesh.light_rows[part[mesh.light_rows] <= Part.MOUTH]
    ends = cage_rows[np.searchsorted(mesh.cage, POINTS[["vertex", "other"]])]
    nearest = candidates[cKDTree(points[candidates]).query(points[ends].mean(axis=1))[1]]
    landmarks = POINTS[["basel"]].assign(vertex=nearest)
    for name, eye in (("right", Part.RIGHT_EYE), ("left", Part.LEFT_EYE)):
        pupil = np.flatnonzero((part == eye) & (mesh.eye_angles[:, 0] == 0))
        landmarks.loc[f"{name}.eye.pupil.center"] = None, pupil[0]
    return landmarks


def packed(mesh):
    """Arrays to store: the smallest integers that hold the values, texture coordinates as the model's file has them."""
    arrays = dict(vars(mesh))
    operator = arrays.pop("operator")
    arrays |= {f"operator_{name}": getattr(operator, name) for name in ("data", "indices", "indptr")}
    arrays["uv"] = mesh.uv.astype(np.float32)
    return {
        name: values.astype(np.min_scalar_type(values.max())) if values.dtype.kind == "i" else values
        for name, values in arrays.items()
    }


def main():
    """Derive and write the arrays."""
    mesh, landmarks = assemble(load_base_mesh())
    np.savez_compressed(BASE_MESH, **packed(mesh))
    landmarks.to_csv(LANDMARKS)


if __name__ == "__main__":
    main()
