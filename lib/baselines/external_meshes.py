"""Meshes of other methods: put into the face model's frame, their landmarks found."""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from skimage.transform import SimilarityTransform

from lib.core.errors import StudyError
from lib.evaluation.scan_fit import NOSE_TIP, fit_scan, outer_skin
from lib.evaluation.surfaces import crop_to_sphere, make_surface, point_to_plane, register
from lib.face_model.mesh_reading import Mesh
from lib.rendering.crop import POINT_NAMES

LANDMARKS_FILE = "landmarks.json"
LANDMARK_NAMES = (*POINT_NAMES, "nose_tip")
FIT_COMPONENTS = 60
MATCHED_RADIUS = 70.0  # mm around the nose tip of the mean face in which a mesh is brought into place
LARGEST_OFFSET, LARGEST_MEAN_OFFSET = 20.0, 10.0
"""mm from the mean face's landmarks at which a placed mesh may have its own, each and all five on average: of 19
simulated people each is within 12, and of a face upside down the mean is 13."""
HEIGHTS = (110.0, 140.0, 175.0, 220.0, 275.0, 345.0)
"""mm that a mesh may measure from top to bottom, since its unit is not known: from a mask to a head with its neck."""


@dataclass(frozen=True)
class PlacedMesh:
    """A mesh in the face model's frame, in mm, and the vertices whose mean is each of its `LANDMARK_NAMES`."""

    mesh: Mesh
    landmarks: dict

    def landmark_places(self):
        """Where the landmarks are: (5, 3) mm."""
        return np.stack([self.mesh.vertices[list(self.landmarks[name])].mean(0) for name in LANDMARK_NAMES])

    @property
    def nose_tip(self):
        """(3,) mm."""
        return self.mesh.vertices[list(self.landmarks["nose_tip"])].mean(0)


def read_landmarks(folder):
    """Read the vertices of `LANDMARK_NAMES` that a folder names for all its meshes; None where it has no such file."""
    path = folder / LANDMARKS_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return {name: tuple(int(vertex) for vertex in np.atleast_1d(content[name])) for name in LANDMARK_NAMES}
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(
            f"{path} must map each of {', '.join(LANDMARK_NAMES)} to a list of vertex numbers, counted from 0 "
            f"({type(error).__name__}: {error})"
        ) from None


def place_meshes(meshes, face_model, landmarks=None):
    """Bring meshes into the face model's frame and find their landmarks: `PlacedMesh` by name, or StudyError.

    Meshes are upright and frontal within some 20 degrees. Without given landmarks, the model is fitted to the mean of
    the meshes of the same triangles, and its own landmarks say where theirs are.
    """
    (rows, triangles), mean_face = outer_skin(face_model), _face(face_model)
    nose_tip = mean_face[face_model.landmarks[NOSE_TIP]]
    target = crop_to_sphere(make_surface(mean_face[rows], triangles), nose_tip, MATCHED_RADIUS)
    wanted = _landmark_places(mean_face, face_model)
    alike = defaultdict(list)
    for name, mesh in meshes.items():
        alike[hashlib.sha256(mesh.triangles.tobytes()).digest(), len(mesh.vertices)].append(name)
    placed = {}
    for names in alike.values():
        first = meshes[names[0]]
        mean = replace(first, vertices=np.mean([meshes[name].vertices for name in names], axis=0))
        name = names[0]
        try:
            known = landmarks or _fitted_landmarks(mean, target, face_model)
            for name in names:
                # the similarity that brings its landmarks nearest (Umeyama 1991), then closest points
                places = PlacedMesh(meshes[name], known).landmark_places()
                vertices = SimilarityTransform.from_estimate(places, wanted)(meshes[name].vertices)
                vertices = register(make_surface(vertices, meshes[name].triangles), target).apply(vertices)
                placed[name] = PlacedMesh(replace(meshes[name], vertices=vertices), known)
                _check_place(placed[name], wanted)
        except (ValueError, IndexError, np.linalg.LinAlgError) as error:
            raise StudyError(
                f"{name} cannot be placed on the mean face: {error}. Meshes must be upright (+y up), frontal (+z out "
                f"of the face) and whole, and {LANDMARKS_FILE} must name its own vertices, left and right the subject's"
            ) from None
    return placed


def _check_place(placed, wanted):
    """Raise ValueError where the landmarks are not near those of the mean face."""
    offsets = np.linalg.norm(placed.landmark_places() - wanted, axis=1)
    if not (offsets.max() <= LARGEST_OFFSET and offsets.mean() <= LARGEST_MEAN_OFFSET):
        name = LANDMARK_NAMES[offsets.argmax()]
        raise ValueError(
            f"its {name} lies {offsets.max():.0f} mm off and all {len(offsets)} landmarks {offsets.mean():.0f} on "
            f"average, expected at most {LARGEST_OFFSET:.0f} and {LARGEST_MEAN_OFFSET:.0f}"
        )


@torch.no_grad()
def _face(face_model, coefficients=()):
    """Vertices (N, 3) of the face of some leading shape coefficients."""
    shape = torch.zeros(1, face_model.shape_dimension)
    shape[0, : len(coefficients)] = torch.as_tensor(coefficients)
    return face_model.vertices(shape)[0].double().numpy()


def _landmark_places(face, face_model):
    """Places (5, 3) of `LANDMARK_NAMES` on a face (N, 3) of the model."""
    indices = [*face_model.alignment_vertices.values(), (face_model.landmarks[NOSE_TIP],)]
    return np.stack([face[list(vertices)].mean(0) for vertices in indices])


def _fitted_landmarks(mesh, target, face_model):
    """Vertices of the mesh that are nearest to the landmarks of the model's face that fits it best."""
    tip = _face(face_model)[face_model.landmarks[NOSE_TIP]]
    foremost = mesh.vertices[mesh.vertices[:, 2].argmax()]
    best, least = None, np.inf
    for height in HEIGHTS:
        scale = height / np.ptp(mesh.vertices[:, 1])
        surface = make_surface(scale * (mesh.vertices - foremost) + tip, mesh.triangles)
        moved = surface.moved(register(surface, target))
        distance = point_to_plane(target, moved).mean()
        if distance < least:
            best, least = moved, distance
    fit = fit_scan(face_model, best, min(FIT_COMPONENTS, face_model.shape_dimension))
    _, nearest = fit.scan.tree.query(_landmark_places(_face(face_model, fit.coefficients), face_model))
    return {name: (int(vertex),) for name, vertex in zip(LANDMARK_NAMES, fit.scan.used[nearest])}
