"""One photograph explained: the face's pose and expression, the camera, the light, and an overlay that shows it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from lib.core.pictures import decode_srgb, encode_srgb, to_tensor, to_uint8
from lib.face_model.model import IBUG_LANDMARKS
from lib.face_model.photo_texture import Places, photo_texture
from lib.fitting.colours import COMPONENTS, Parts, fit_colours
from lib.fitting.face_mesh import CROP, load_face_mesh
from lib.fitting.light import fit_light, irradiance
from lib.fitting.lips import correct_lips
from lib.fitting.pose import LandmarkModel, Pose
from lib.rendering.camera import clip_projection
from lib.rendering.crop import Crop, fit_similarity
from lib.rendering.rasterize import rasterize
from lib.rendering.vertices import mirror_vertices, unit_normals, vertex_stage

LANDMARK_CROP = Crop(2 * CROP.size, CROP.points)
"""The landmarks are found in half of its pixels, the edges of lips in all."""
EVERY = 5  # colours are fitted to one of so many pixels
FINER = 2
"""Overlays are drawn so many times finer than the picture and averaged, so that edges of lids and teeth are smooth."""


@dataclass(frozen=True)
class PhotographFit:
    """What a photograph shows beside who it is."""

    pose: Pose  # in pixels of the photograph
    camera: np.ndarray  # (3, 4): homogeneous points of the model frame in mm to (x w, y w, w), pixels and mm
    vertices: np.ndarray  # (N, 3): with the expression, mm, model frame
    light: np.ndarray  # (9, 3): as `lib.fitting.light.fit_light`, for normals in the camera's frame
    overlay: np.ndarray  # (H, W, 3), uint8: the face drawn over the portrait in its light

    @property
    def posed(self):
        """The vertices (N, 3) as the camera sees them: turned, mm from the centre of the face."""
        return ((self.vertices - self.pose.centre) @ self.pose.rotation.T).astype(np.float32)

    def facts(self, face_model):
        """All that is worth telling, JSON-compatible; docs/faces.md describes it."""
        rows = face_model.landmark_vertices(IBUG_LANDMARKS)
        mm, (yaw, pitch, roll) = self.vertices[rows], np.degrees(self.pose.angles).tolist()
        seen = np.hstack([mm, np.ones((len(mm), 1))]) @ self.camera.T
        pixels = seen[:, :2] / seen[:, 2:]
        return dict(
            pose_degrees=dict(yaw=yaw, pitch=pitch, roll=roll),
            distance_mm=self.pose.distance,
            camera=self.camera.tolist(),
            expression=self.pose.expression.tolist(),
            light=self.light.tolist(),
            landmarks=dict(vertices=rows, pixels=pixels.round(2).tolist(), mm=mm.round(3).tolist()),
            residual=self.pose.residual,
        )


def find_landmarks(network, pictures):
    """Find the landmarks (B, 468, 2) in crops uint8 (B, 384, 384, 3), `LANDMARK_CROP`, in their units, by FaceMesh."""
    found = network(F.avg_pool2d(to_tensor(pictures), 2)).double().numpy()
    return np.stack([correct_lips(*pair) for pair in zip(found, pictures, strict=True)])


class PhotographFitter:
    """Fits the open model, light or full, to photographs; StudyError: another one, or no landmark network."""

    framings = {"landmarks": LANDMARK_CROP}

    def __init__(self, face_model):
        self.face_model, self.points, self.network = face_model, LandmarkModel(face_model), load_face_mesh()

    def explain(self, pose, texture, portrait, crop, detected):
        """Fit colours and light, once the pose is known in units of the landmarks' crop, and draw the overlay.

        `texture` (K,) is what the regressor gives, `portrait` (H, W, 3), uint8, is the photograph in the framing of
        `crop`, cut by the `detected` points (4, 2). Returns a PhotographFit and the corrected texture.
        """
        to_photograph, from_portrait = (similarity(one, detected) for one in (CROP, crop))
        pose = in_picture(pose, to_photograph)
        camera = pose.camera()
        albedo = self.face_model.albedo(texture[None])[0]
        seen = self._see(pose, albedo, portrait, np.linalg.inv(from_portrait) @ camera)
        # some pixels are enough; their modes are those of one corner of the triangle, which is as small as a pixel
        counted = np.arange(len(seen.sure)) % EVERY == 0
        counted |= self.points.parts.irises[seen.corners[:, 0]]
        sure = np.flatnonzero(seen.sure & counted)
        vertices = seen.corners[sure, 0]
        modes = self.face_model.modes("texture", vertices, COMPONENTS).numpy()
        parts = Parts(*(part[vertices] for part in self.points.parts))
        pixels = seen.surface[sure], seen.normals[sure], seen.shown[sure]
        change, light = fit_colours(modes, *pixels, parts)
        texture = texture.clone()
        texture[: len(change)] += torch.from_numpy(change).float()
        albedo, fine = self.face_model.albedo(texture[None])[0], portrait.repeat(FINER, 0).repeat(FINER, 1)
        drawn = self._see(pose, albedo, fine, np.linalg.inv(from_portrait) @ camera).overlay(light, fine)
        overlay = to_uint8(drawn.reshape(len(portrait), FINER, -1, FINER, 3).mean((1, 3)) / 255)
        return PhotographFit(pose, camera, seen.vertices, light, overlay), texture

    def even(self, albedo):
        """Give the skin under hair, to which regressors give the hair's colour, the face's: albedo (N, 3), sRGB.

        It gets the average skin's pattern, in the median colour of this face's plain skin.
        """
        mean = decode_srgb(self.face_model.albedo(torch.zeros(1, self.face_model.texture_dimension))[0].numpy())
        skin = self.points.plain * self.points.inside > 0.5
        average = encode_srgb((mean * np.median(decode_srgb(albedo)[skin] / mean[skin], axis=0)).clip(0, 1))
        return (albedo + self.points.under_hair[:, None] * (average - albedo)).astype(albedo.dtype)

    def texture(self, fit, albedo, pixels, crop, detected):
        """Make the `Texture` of a fitted photograph's own pixels, and its weights: see `photo_texture`.

        `albedo` (N, 3) is the model's, evened; `pixels`, `crop` and `detected` are as the portrait of `explain`.
        """
        camera = np.linalg.inv(similarity(crop, detected)) @ fit.camera
        received = irradiance(unit_normals(fit.posed, self.face_model.triangles), fit.light)
        return photo_texture(self.face_model.atlas, fit.vertices, camera, pixels, received, albedo, self._places)

    @cached_property
    def _places(self):
        mean, points = self.face_model.vertices(torch.zeros(1, self.face_model.shape_dimension))[0], self.points
        parts = points.inside, points.plain, points.parts.brows, points.parts.forehead, points.deep
        return Places(mirror_vertices(mean.numpy()), *parts)

    def draw(self, pose, albedo, picture, camera):
        """Fit the light to a picture (H, W, 3) that `camera` maps to in its sides: vertices, light and overlay."""
        seen = self._see(pose, albedo, picture, camera)
        sure = seen.sure
        light = fit_light(seen.surface[sure], seen.normals[sure], seen.shown[sure])
        return seen.vertices, light, seen.overlay(light, picture)

    def _see(self, pose, albedo, picture, camera):
        model, (height, width) = self.face_model, picture.shape[:2]
        shape, expression = (torch.from_numpy(values).float()[None] for values in (pose.shape, pose.expression))
        with torch.inference_mode():
            vertices, albedo = model.vertices(shape, expression), torch.as_tensor(albedo)[None]
            projection = clip_projection(camera, pose.distance)
            clip, attributes = vertex_stage(vertices, albedo, model.triangles, projection)
            seen = rasterize(clip, model.triangles, attributes, height, width)
        covered = seen.covered[0].numpy()
        surface, normals, _ = np.split(seen.attributes[0].numpy()[covered], 3, 1)
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True) @ pose.rotation.T
        corners = model.triangles.numpy()[seen.triangle_ids[0].numpy()[covered]]
        inside = self.points.inside[corners].mean(1)
        return _Seen(vertices[0].numpy(), covered, surface, normals, picture[covered] / 255, corners, inside)


@dataclass(frozen=True)
class _Seen:
    """The P pixels of a picture that the face covers."""

    vertices: np.ndarray  # (N, 3): of the face with its expression
    covered: np.ndarray  # (H, W), bool
    surface: np.ndarray  # (P, 3): its colours, sRGB
    normals: np.ndarray  # (P, 3): in the camera's frame
    shown: np.ndarray  # (P, 3): the picture's colours, sRGB
    corners: np.ndarray  # (P, 3): vertices of the triangle
    inside: np.ndarray  # (P,): 1 where the landmarks explain the picture

    @property
    def sure(self):
        """Which of the pixels are no hair, ears or neck; all, where nothing else is seen."""
        inside = self.inside > 0.5
        return inside if inside.any() else ~inside

    def overlay(self, light, picture):
        """Draw the surface over the picture in its light."""
        drawn, overlay = encode_srgb(decode_srgb(self.surface) * irradiance(self.normals, light)), picture.copy()
        overlay[self.covered] = to_uint8(self.shown + self.inside[:, None] * (drawn - self.shown))
        return overlay


def in_picture(pose, matrix):
    """A pose in units of a crop as one in pixels of the picture, which `similarity` maps the crop to."""
    a, b = matrix[:2, 0]
    scale = np.hypot(a, b)
    turn = np.array([[a, b, 0], [-b, a, 0], [0, 0, scale]]) / scale
    place = (matrix @ [*pose.place, 1])[:2]
    return replace(pose, rotation=turn @ pose.rotation, place=place, scale=float(scale * pose.scale))


def similarity(crop, detected):
    """From a crop to the photograph with these landmarks (4, 2), as a matrix (3, 3) of homogeneous points."""
    detected = torch.as_tensor(np.asarray(detected, np.float32))
    a, b, x, y = (float(value) for value in fit_similarity(crop.canonical_points(), detected))
    return np.array([[a, -b, x], [b, a, y], [0, 0, 1]])
