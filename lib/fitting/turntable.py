"""A face that turns to and fro, as an animated WebP."""

import math

import torch
from PIL import Image

from lib.core.files import MADE_HERE, write_atomically
from lib.core.pictures import to_pictures
from lib.fitting.reconstructor import HEAD
from lib.rendering.camera import alignment_points, crop_projection, rotation_matrices
from lib.rendering.rasterize import rasterize
from lib.rendering.scenes import background_pictures, frontal_scene
from lib.rendering.shading import shade
from lib.rendering.vertices import vertex_stage

FRAMES, MILLISECONDS = 24, 100
FARTHEST = math.radians(60)  # to either side
FRONT = 30  # bytes of a WebP's header; the chunks follow


@torch.inference_mode()
def save_turntable(path, face, face_model):
    """Draw a `Face` of the face model, neutral, from `FRAMES` sides and write the animation (``.webp``)."""
    vertices, albedo = (torch.from_numpy(values)[None] for values in (face.vertices, face.albedo))
    scene = frontal_scene(FRAMES)
    corners = alignment_points(vertices, face_model.alignment_vertices)
    front, _, origin = crop_projection(scene.angles[:1], scene.distance[:1], corners, HEAD)
    # the face turns before a camera that stands still: a crop that follows the eyes would zoom and roll
    scene.angles[:, 0] = FARTHEST * torch.sin(torch.arange(FRAMES) * (2 * math.pi / FRAMES))
    middle = vertices.mean(1)
    turned = (vertices - middle) @ rotation_matrices(scene.angles).mT + middle
    meshes = turned, albedo.expand(FRAMES, -1, -1), face_model.triangles
    clip, attributes = vertex_stage(*meshes, front.expand(FRAMES, -1, -1))
    fragments = rasterize(clip, face_model.triangles, attributes, HEAD.size, HEAD.size)
    eye = origin + scene.distance[:, None] * torch.tensor([0.0, 0.0, 1.0])
    lights = scene.light_positions + origin, scene.light_colours, scene.ambient
    images = shade(fragments, lights, eye, background_pictures(scene.background, HEAD.size))
    first, *others = (Image.fromarray(picture) for picture in to_pictures(images))
    options = dict(save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=85)

    def write(part):
        first.save(part, "WEBP", xmp=MADE_HERE.encode(), **options)
        content = part.read_bytes()
        end = content.rindex(b"XMP ")  # written last, but looked for in the first bytes of a file; both are valid
        part.write_bytes(content[:FRONT] + content[end:] + content[FRONT:end])

    write_atomically(path, write)
