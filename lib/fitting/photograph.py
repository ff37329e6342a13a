"""One photograph explained: the face's pose and expression, the camera, the light, and an overlay that shows it."""

from dataclasses import dataclass

import numpy as np
import torch

from lib.core.pictures import decode_srgb, encode_srgb, to_tensor, to_uint8
from lib.face_model.model import IBUG_LANDMARKS
from lib.fitting.face_mesh import CROP, load_face_mesh
from lib.fitting.light import fit_light, irradiance
from lib.fitting.pose import LandmarkModel, Pose, clip_projection
from lib.rendering.crop import fit_similarity
from lib.rendering.rasterize import rasterize
from lib.rendering.vertices import unit_normals, vertex_stage


@dataclass(frozen=True)
class PhotographFit:
    """What a photograph shows beside who it is.

    Attributes
    ----------
    pose : lib.fitting.pose.Pose
        In units of the landmark network's crop.
    camera : ndarray (3, 4)
        Homogeneous points of the model frame in mm to (x w, y w, w) of the photograph in pixels, w in mm.
    vertices : ndarray (N, 3)
        With the expression, mm, model frame.
    light : ndarray (9, 3)
        As `lib.fitting.light.fit_light`, for normals in the camera's frame.
    overlay : ndarray (H, W, 3)
        uint8: the face drawn over the portrait in its light.
    """

    pose: Pose
    camera: np.ndarray
    vertices: np.ndarray
    light: np.ndarray
    overlay: np.ndarray

    @property
    def posed(self):
        """The vertices (N, 3) as the camera sees them: turned, mm from the centre of the face."""
        return ((self.vertices - self.pose.centre) @ self.pose.rotation.T).astype(np.float32)

    def irradiance(self, triangles):
        """Light that reaches each vertex, linear: ndarray (N, 3)."""
        return irradiance(unit_normals(self.posed, triangles), self.light)

    def facts(self, face_model):
        """All that is worth telling, JSON-compatible; docs/faces.md describes it."""
        rows = face_model.landmark_vertices(IBUG_LANDMARKS)
        yaw, pitch, roll = np.degrees(self.pose.angles).tolist()
        return dict(
            pose_degrees=dict(yaw=yaw, pitch=pitch, roll=roll),
            distance_mm=self.pose.distance,
            camera=self.camera.tolist(),
            expression=self.pose.expression.tolist(),
            light=self.light.tolist(),
            landmarks=dict(
                vertices=rows,
                pixels=_apply(self.camera, self.vertices[rows]).round(2).tolist(),
                mm=self.vertices[rows].round(3).tolist(),
            ),
            residual=self.pose.residual,
        )


class PhotographFitter:
    """Fits a face model to photographs.

    Parameters
    ----------
    face_model : FaceModel
        One near whose mean face the landmarks lie: the open model, light or full.

    Raises
    ------
    StudyError
        Another face model, or the landmark network cannot be had.
    """

    framings = {"landmarks": CROP}

    def __init__(self, face_model):
        self.face_model, self.points, self.network = face_model, LandmarkModel(face_model), load_face_mesh()

    def landmarks(self, pictures):
        """Find the landmarks in crops uint8 (B, 192, 192, 3): ndarray (B, 468, 2) in units of the crop."""
        return self.network(to_tensor(pictures)).double().numpy()

    def explain(self, pose, albedo, portrait, crop, detected):
        """Fit the light, once the pose is known, and draw the overlay.

        Parameters
        ----------
        pose : Pose
        albedo : ndarray (N, 3)
        portrait : ndarray (H, W, 3)
            uint8: the photograph in the framing of `crop`.
        crop : lib.rendering.crop.Crop
        detected : array-like (4, 2)
            `lib.rendering.crop.POINT_NAMES` in pixels of the photograph, by which it was cropped.

        Returns
        -------
        PhotographFit
        """
        model, detected = self.face_model, torch.as_tensor(np.asarray(detected, np.float32))
        to_photograph, from_portrait = (_similarity(one.canonical_points(), detected) for one in (CROP, crop))
        camera = to_photograph @ pose.camera()
        shape, expression = (torch.from_numpy(values).float()[None] for values in (pose.shape, pose.expression))
        with torch.inference_mode():
            vertices, albedo = model.vertices(shape, expression), torch.as_tensor(albedo)[None]
            projection = clip_projection(np.linalg.inv(from_portrait) @ camera, pose.distance)
            clip, attributes = vertex_stage(vertices, albedo, model.triangles, projection)
            seen = rasterize(clip, model.triangles, attributes, crop.size, crop.size)
        covered = seen.covered[0].numpy()
        surface, normals, _ = np.split(seen.attributes[0].numpy()[covered], 3, 1)
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True) @ pose.rotation.T
        light = fit_light(surface, normals, portrait[covered] / 255)
        overlay = portrait.copy()
        overlay[covered] = to_uint8(encode_srgb(decode_srgb(surface) * irradiance(normals, light)))
        return PhotographFit(pose, camera, vertices[0].numpy(), light, overlay)


def _similarity(source, target):
    """The similarity transform of points (P, 2) onto others as a matrix (3, 3) of homogeneous points."""
    a, b, x, y = (float(value) for value in fit_similarity(source, target))
    return np.array([[a, -b, x], [b, a, y], [0, 0, 1]])


def _apply(camera, points):
    """Points (P, 3) in mm to pixels (P, 2)."""
    seen = np.hstack([points, np.ones((len(points), 1))]) @ camera.T
    return seen[:, :2] / seen[:, 2:]
