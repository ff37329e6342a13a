"""A model over a quarter of its vertices: the same surface, the same coefficients."""

import json

import numpy as np
import pytest
import torch
from meshes import CROP, head, sphere
from small_world import EXPRESSION, SHAPE, TEXTURE, small_face_model, write_face_model

from lib.face_model.coarse import coarsened, load_coarse_model
from lib.face_model.file import FaceModelFile, LinearModel
from lib.face_model.model import ALIGNMENT_LANDMARKS
from lib.rendering.renderer import render_meshes
from lib.rendering.scenes import frontal_scene


def model_of(vertices, triangles, landmarks=()):
    """A model of a mesh (N, 3), (T, 3), whose single mode moves every vertex by its number."""
    mean = vertices.numpy().ravel()
    basis = np.repeat(np.arange(len(vertices), dtype=np.float32), 3)[:, None]
    linear = LinearModel(mean, basis, np.ones(1, np.float32), np.zeros(1, np.float32))
    named = [{"id": f"point {v}", "coordinates": vertices[v].tolist()} for v in landmarks]
    cells = triangles.numpy().T.astype(np.int32)
    return FaceModelFile(linear, linear, linear, cells, vertices.numpy().T, json.dumps(named))


def edges_of(cells):
    """How many triangles run along each directed edge: dict."""
    corners = cells.T
    ends = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    pairs, counts = np.unique(ends, axis=0, return_counts=True)
    return dict(zip(map(tuple, pairs.tolist()), counts.tolist(), strict=True))


def test_a_closed_mesh_stays_closed_and_turned_outwards():
    vertices, triangles = sphere(5)
    coarse = coarsened(model_of(vertices, triangles))
    count, cells = coarse.points.shape[1], coarse.cells
    assert 0.15 * len(vertices) < count < 0.35 * len(vertices)
    edges = edges_of(cells)
    assert set(edges.values()) == {1} and all((b, a) in edges for a, b in edges)
    assert count - len(edges) / 2 + cells.shape[1] == 2  # Euler: no hole, no handle
    a, b, c = (coarse.points.T[corner] for corner in cells)
    volume = (np.cross(a, b) * c).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.01)


def test_what_stays_is_a_subset_with_its_modes():
    vertices, triangles = sphere(3)
    coarse = coarsened(model_of(vertices, triangles, landmarks=(5, 77, 200)))
    kept = coarse.shape.basis[::3, 0].astype(int)
    assert {5, 77, 200} <= set(kept.tolist())
    assert np.array_equal(coarse.points.T, vertices.numpy()[kept])
    for part in (coarse.shape, coarse.color, coarse.expression):
        assert np.array_equal(part.mean.reshape(-1, 3), vertices.numpy()[kept])
        assert np.array_equal(part.basis.ravel(), np.repeat(kept, 3))


def test_surfaces_that_touch_without_being_joined_stay_apart():
    # two sheets, one upon the other, as closed lips are
    grid = torch.stack(torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij"), -1).reshape(-1, 2)
    sheet = torch.cat([grid, torch.zeros(400, 1)], 1)
    index = torch.arange(400).view(20, 20)
    a, b, c, d = (part.flatten() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    triangles = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    coarse = coarsened(model_of(torch.cat([sheet, sheet]), torch.cat([triangles, triangles + 400])))
    side = coarse.shape.basis[::3, 0] >= 400
    assert side.any() and not side.all()
    assert all(len(set(side[corners])) == 1 for corners in coarse.cells.T)


def test_it_looks_the_same():
    vertices, albedo, triangles, alignment = head(6)
    scene, pictures = frontal_scene(1), []
    coarse = coarsened(model_of(vertices[0], triangles, landmarks=sum(alignment, [])))
    kept = coarse.shape.basis[::3, 0].astype(int)
    place = {int(v): k for k, v in enumerate(kept)}
    moved = [[place[v] for v in group] for group in alignment]
    cells = torch.from_numpy(coarse.cells.T.astype(np.int64))
    for mesh in ((vertices, albedo, triangles, alignment), (vertices[:, kept], albedo[:, kept], cells, moved)):
        places, colours, corners, groups = mesh
        pictures.append(render_meshes(places, colours, corners, groups, scene, CROP))
    assert (pictures[0] - pictures[1]).abs().mean() < 0.005


def test_a_loaded_model_decodes_the_vertices_that_stay(tmp_path):
    full = small_face_model(tmp_path)
    coarse = load_coarse_model(write_face_model(tmp_path / "model.h5"), SHAPE, TEXTURE, EXPRESSION)
    assert coarse.vertex_count < full.vertex_count
    codes = torch.randn(2, SHAPE), torch.randn(2, EXPRESSION)
    all_vertices, some = full.vertices(*codes), coarse.vertices(*codes)
    distance = torch.cdist(some.double(), all_vertices.double()).amin(2)
    assert distance.max() < 1e-4
    for names in ALIGNMENT_LANDMARKS:
        for name in names:
            assert torch.allclose(some[:, coarse.landmarks[name]], all_vertices[:, full.landmarks[name]], atol=1e-4)
