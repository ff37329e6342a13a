"""Faces in, pictures out: the only place where camera, rasteriser and shading meet (paper 3.2.1, 3.2.2)."""

import torch
import torch.nn.functional as F

from lib.core.tensors import constant
from lib.rendering.camera import alignment_points, crop_projection, picture_points
from lib.rendering.crop import Crop
from lib.rendering.rasterize import rasterize
from lib.rendering.scenes import Scene, SceneDistribution, background_pictures, frontal_scene, sample_scenes  # noqa: F401
from lib.rendering.shading import shade
from lib.rendering.vertices import vertex_stage

FINER = 2  # `draw_mesh` renders so many times as large, and averages: edges of hair and glasses are smooth


def render(face_model, coefficients, scene, crop, expression=None, backend="auto"):
    """Render faces of the morphable model in the framing of a recognition network.

    `coefficients` and `expression` (B, E), or None for neutral, are of B faces; `scene` is of S pictures, a multiple of
    B (else ValueError), on any device: picture i shows face i % B, decoded once for all. `backend` is of
    `lib.rendering.rasterize.rasterize`. Returns a Tensor (S, 3, crop.size, crop.size), sRGB in [0, 1], differentiable
    with respect to the coefficients and to the scene's pose and lights.
    """
    decoded = face_model.vertices(coefficients.shape, expression), face_model.albedo(coefficients.texture)
    return render_meshes(*decoded, face_model.triangles, face_model.alignment_vertices, scene, crop, backend)


def render_meshes(vertices, albedo, triangles, alignment_vertices, scene, crop, backend="auto"):
    """Render any meshes of one topology, as `render`.

    `vertices` and `albedo` are (B, N, 3), mm in the model's frame and sRGB; `triangles` (T, 3) integers,
    counter-clockwise from outside; `alignment_vertices` as `lib.rendering.camera.alignment_points`.
    """
    meshes = vertices, albedo, triangles, alignment_vertices
    return render_with_landmarks(*meshes, scene, crop, backend)[0]


@torch.no_grad()
def draw_mesh(vertices, albedo, triangles, alignment_vertices, scene, crop):
    """Draw one mesh, tensors or arrays (N, 3), as a perfect camera sees it: float32 (S, H, W, 3), sRGB in [0, 1]."""
    meshes = torch.as_tensor(vertices)[None], torch.as_tensor(albedo)[None], torch.as_tensor(triangles)
    images = render_meshes(*meshes, alignment_vertices, scene, Crop(FINER * crop.size, crop.points))
    return F.avg_pool2d(images, FINER).permute(0, 2, 3, 1).numpy()


def render_with_landmarks(vertices, albedo, triangles, alignment_vertices, scene, crop, backend="auto"):
    """Do the same as `render_meshes`, and say where the landmarks `POINT_NAMES` lie in the pictures.

    Tensor (S, 4, 2) in units of the picture, x to the right and y downwards, differentiable.
    """
    faces, pictures = len(vertices), len(scene)
    if faces == 0 or pictures % faces:
        raise ValueError(f"{pictures} pictures cannot show {faces} faces evenly: give a multiple of the faces")
    scene = scene.to(vertices.device)
    points = alignment_points(vertices, alignment_vertices).repeat(pictures // faces, 1, 1)
    projection, rotation, centre = crop_projection(scene.angles, scene.distance, points, crop, scene.framing)
    clip_vertices, attributes = vertex_stage(vertices, albedo, triangles, projection)
    fragments = rasterize(clip_vertices, triangles, attributes, crop.size, crop.size, backend)

    def to_model(places):
        return places @ rotation + centre[:, None]

    eye = scene.distance[:, None, None] * constant((0.0, 0.0, 1.0), vertices.device)
    lights = (to_model(scene.light_positions), scene.light_colours, scene.ambient)
    background = background_pictures(scene.background, crop.size)
    return shade(fragments, lights, to_model(eye)[:, 0], background), picture_points(points, projection)
