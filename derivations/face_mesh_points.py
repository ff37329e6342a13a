"""Find where FaceMesh's landmarks lie on the open model: `lib/fitting/face_mesh_points.npz`.

Random faces with random expressions are rendered in random scenes and shown to the network. Each landmark belongs to
the vertex whose place in the pictures is nearest to it, by its mean square; how far it still is tells how much a
landmark can be trusted. Edges of lips and lids have vertices by name; how far the landmarks lie above these is measured
on neutral faces from the front. Colours tell outer edges of lips (`lib.fitting.lips`), which need no such measure. In
two minutes, after all derivations of the open model, with its built file of full resolution:

    python -m derivations.face_mesh_points data/face_model/full.h5
"""

import argparse

import numpy as np
import torch

from lib.core.progress import progress
from lib.face_model.model import FaceModel
from lib.fitting.face_mesh import CROP, load_face_mesh
from lib.fitting.pose import EDGES, OUTER_LIPS, POINTS_FILE, edge_vertices, meet
from lib.rendering.camera import alignment_points, crop_projection, picture_points
from lib.rendering.rasterize import rasterize
from lib.rendering.renderer import SceneDistribution, frontal_scene, render_meshes, sample_scenes
from lib.rendering.vertices import vertex_stage

FACES, EDGE_FACES, BATCH, SEED = 600, 200, 10, 5
CORNERS = (78, 308, 61, 291, 33, 133, 362, 263)
"""Of mouth and eyes, among the `EDGES`: the landmark is the vertex."""
EXPRESSION = 0.8
"""Of the model's deviations."""
SEEN = 0.3
"""In so many pictures a vertex must be seen."""
PIXELS = 384
"""A side of the pictures that tell which vertices are seen."""


def show(model, network, vertices, texture, scene):
    """Landmarks (B, 468, 2) that are found in renders of faces, and the projection (B, 4, 4) of these."""
    points = alignment_points(vertices, model.alignment_vertices)
    projection = crop_projection(scene.angles, scene.distance, points, CROP, scene.framing)[0]
    meshes = vertices, model.albedo(texture), model.triangles, model.alignment_vertices
    return network(render_meshes(*meshes, scene, CROP)), projection


def edge_heights(model, network, generator):
    """How far the edges' landmarks lie above the vertices of the same name: (E,), mm; 0 in corners, outside of lips."""
    rows, heights, sizes = edge_vertices(model), [], (model.shape_dimension, model.texture_dimension)
    for _ in progress(range(EDGE_FACES // BATCH), "edges", total=EDGE_FACES // BATCH, unit="batch"):
        shape, texture = (torch.randn(BATCH, size, generator=generator) for size in sizes)
        vertices = model.vertices(shape)
        found, projection = show(model, network, vertices, texture, frontal_scene(BATCH))
        places = picture_points(vertices, projection)[:, rows].numpy()
        found = found.numpy()
        for landmarks in found:  # these lips are closed, as those of the vertices
            meet(landmarks, np.zeros_like(landmarks))
        scale = np.ptp(places[:, :, 0], axis=1) / np.ptp(vertices[:, rows, 0].numpy(), axis=1)
        heights.append((places - found[:, [*EDGES]])[:, :, 1] / scale[:, None])
    return np.concatenate(heights).mean(0) * [name not in (*CORNERS, *OUTER_LIPS) for name in EDGES]


@torch.no_grad()
def main():
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("face_model")
    model, network = FaceModel.load(parser.parse_args().face_model), load_face_mesh()
    generator = torch.Generator().manual_seed(SEED)
    scenes = SceneDistribution(40.0, 20.0, crop_shift=0.03, crop_scale=0.05, crop_roll=0.05)
    places, found, seen = [], [], torch.zeros(model.vertex_count)
    for _ in progress(range(FACES // BATCH), "faces", total=FACES // BATCH, unit="batch"):
        sizes = model.shape_dimension, model.texture_dimension, model.expression_dimension
        shape, texture, expression = (torch.randn(BATCH, size, generator=generator) for size in sizes)
        vertices = model.vertices(shape, EXPRESSION * expression)
        landmarks, projection = show(model, network, vertices, texture, sample_scenes(BATCH, generator, scenes))
        found.append(landmarks)
        places.append(picture_points(vertices, projection))
        clip, attributes = vertex_stage(vertices, vertices, model.triangles, projection)
        for ids in rasterize(clip, model.triangles, attributes, PIXELS, PIXELS).triangle_ids:
            seen[model.triangles[ids[ids >= 0].long()].unique()] += 1
    candidates = torch.nonzero(seen > SEEN * FACES)[:, 0]
    place = torch.cat(places)[:, candidates].permute(1, 0, 2).flatten(1).double()
    landmark = torch.cat(found).permute(1, 0, 2).flatten(1).double()
    squares = place.square().sum(1)[:, None] - 2 * place @ landmark.T + landmark.square().sum(1)
    least, best = (squares / FACES).min(0)
    mean = model.vertices(torch.zeros(1, model.shape_dimension))[0, candidates[best]].numpy()
    eyes = np.hypot(*np.subtract(*CROP.points[:2]))
    spread, heights = (least.sqrt() / eyes).float().numpy(), edge_heights(model, network, generator)
    np.savez_compressed(POINTS_FILE, places=mean, spread=spread, heights=heights.astype(np.float32))
    print(f"spread of the landmarks: median {least.sqrt().median() / eyes:.3f} distances of the eyes")


if __name__ == "__main__":
    main()
