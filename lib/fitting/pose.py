"""Pose, camera, expression and shape from landmarks, by damped least squares with the face model's priors.

A full-perspective camera looks at the turned face (`lib.rendering.camera`). Its focal length and its distance are both
unknown: the size in the picture gives one of the two, and perspective, weakly, the other, so that the distance has a
prior.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.core.errors import StudyError
from lib.face_model.model import IBUG_LANDMARKS
from lib.fitting.colours import Parts
from lib.fitting.face_mesh import CROP
from lib.rendering.camera import rotation_matrices

POINTS_FILE = Path(__file__).parent / "face_mesh_points.npz"
"""`places` (468, 3) mm of the landmarks on the mean face of the open model, and `spread` (468,), the deviation of what
the network finds from these, in distances between the eyes; `heights` (E,) mm of the `EDGES` above the vertices of
the same name: `derivations/face_mesh_points.py`."""
INNER_LIPS = {78: 61, 81: 62, 13: 63, 311: 64, 308: 65, 402: 66, 14: 67, 178: 68}
LIDS = {33: 37, 160: 38, 158: 39, 133: 40, 153: 41, 144: 42, 362: 43, 385: 44, 387: 45, 263: 46, 373: 47, 380: 48}
OUTER_LIPS = {61: 49, 37: 51, 0: 52, 267: 53, 291: 55, 314: 57, 17: 58, 84: 59}
EDGES = INNER_LIPS | OUTER_LIPS | LIDS
"""Landmarks on the edges of lips and lids, and the same of the 68 (iBUG). The file's places of these do not move with
the edges: they lie on the eyeballs behind the lids, and leave closed lips 4 mm apart."""
MOUTH_CORNERS, EYE_CORNERS = (61, 291), (33, 263)
EDGE_SPREAD, INNER_LIP_SPREAD = 0.01, 0.006
"""In place of the file's `spread`: edges are seen better on photographs than on renders, which have no lashes."""
EYES = float(np.hypot(*np.subtract(*CROP.points[:2])))
"""Distance between the eyes of `CROP`, in its units."""
PARTING = [81, 13, 311], [178, 14, 402]
"""Pairs of landmarks that meet where lips are closed: those above and those below."""
CLOSED = 0.045
"""Lips that the network finds parted by less, in distances between the eyes, are closed."""
BESIDE_EDGES = (
    *(191, 80, 82, 312, 310, 415, 324, 318, 317, 87, 88, 95),
    *(185, 40, 39, 269, 270, 409, 375, 321, 405, 181, 91, 146),
    *(246, 161, 159, 157, 173, 155, 154, 145, 163, 7, 466, 388, 386, 384, 398, 382, 381, 374, 390, 249),
)
"""The other landmarks on these edges: not used."""
BROW, UNDER_NOSE = (336, 296, 334, 293, 300), 2
"""Upper edge of the left brow, outwards; where the nose ends and moustaches begin."""
FARTHEST_PLACE = 8.0
"""mm: a face model whose mean face has no vertex so near to the places is another one."""
CORRELATION = 1.5
"""Errors of neighbouring landmarks are alike: all together tell no more than if each had this many times its spread."""
BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
LIPS = (*INNER_LIPS, *OUTER_LIPS)
SMILE = (0.56, 0.60)
"""Closed mouths wider than the first, in distances between the eyes' outer corners, smile in part; than the second,
wholly."""
REST_SPREAD, HOLD_SPREAD, LARGEST_REST = 0.4, 1.5, 3.0
"""mm: how exactly a face at rest has the photograph's lids, brows and lips, and its own other landmarks; how far the
former may move at most."""
SHAPE_VARIANCE = 0.017
"""Of each coefficient about what the regressor gives; far less than it errs by, since the landmarks of a face err in
the same way in all its photographs. With four times as much the shapes of simulated people come out 4 % worse."""
USUAL_DISTANCE, DISTANCE_SPREAD = 900.0, 0.35  # mm, and the standard deviation of its logarithm
ABOVE_BROW, BELOW_BROW, BESIDE_LIDS, ABOVE_MOUSTACHE = (7.0, 12.0), (12.0, 16.0), (3.0, 6.0), (0.0, 5.0)
"""mm from the mean face's brows, lids and end of the nose: plain skin begins, and there is nothing else."""
NOSTRILS = (4, 64, 294, 98, 327, 2)  # around them: the tip of the nose, its wings, where it ends
ABOVE_BEARD = (0.0, 40.0)
"""mm above the end of the nose: what lies beyond the landmarks is a beard up to the first one, hair from the second."""
PUPILS, IRIS = ("right.eye.pupil.center", "left.eye.pupil.center"), (1.5, 5.0)
"""mm from the pupil's centre, where an iris is on most faces."""
FADE = 12.0
"""mm from the edge of the landmarks, over which the fit fades into hair, ears and neck, which it does not explain."""
OUTLIER = 2.0
"""Deviations beyond which a landmark's error counts linearly (Huber)."""
STEPS, SMALLEST_STEP = 20, 1e-4


@dataclass(frozen=True)
class Pose:
    """How a face was photographed; places in units of its picture (a crop, or pixels), x to the right and y downwards.

    `scale` is in units of the picture per mm at the centre. `residual` is the mean distance of the landmarks from where
    the face has them, in distances between the eyes.
    """

    rotation: np.ndarray  # (3, 3): camera frame = rotation (model frame - centre)
    centre: np.ndarray  # (3,), mm, model frame
    place: np.ndarray  # (2,): where the centre lies in the picture
    scale: float
    distance: float  # from the camera to the centre, mm
    expression: np.ndarray  # (E,)
    shape: np.ndarray  # (S,): the regressor's, corrected by the landmarks
    residual: float

    @property
    def angles(self):
        """Yaw, pitch and roll in radians, as `lib.rendering.camera.rotation_matrices` takes them."""
        (_, roll_sine, _), (_, roll_cosine, _), (yaw_sine, pitch, yaw_cosine) = self.rotation
        return np.array([np.arctan2(-yaw_sine, yaw_cosine), np.arcsin(pitch), np.arctan2(-roll_sine, roll_cosine)])

    def camera(self):
        """The camera (3, 4): homogeneous points of the model frame in mm to (x w, y w, w), w in mm."""
        turned = np.hstack([self.rotation, -(self.rotation @ self.centre)[:, None]])
        depth = np.array([0, 0, 0, self.distance]) - turned[2]
        across, up = self.scale * self.distance * turned[:2]
        return np.stack([across + self.place[0] * depth, self.place[1] * depth - up, depth])


class LandmarkModel:
    """A face model over the landmarks of `lib.fitting.face_mesh` alone; StudyError where its mean face is another.

    For all its vertices, seen from the front, `inside` (N,) is 1 within the landmarks and falls to 0 at their edge,
    `plain` (N,) is 1 where there is neither a beard nor a brow nor an eye, `deep` (N,) at eyes and nostrils,
    `under_hair` (N,) beyond the landmarks and above beards; `parts` (`Parts`) tells which part of the face each is of.
    """

    @torch.no_grad()
    def __init__(self, face_model):
        file = np.load(POINTS_FILE)
        sizes = face_model.shape_dimension, face_model.expression_dimension
        shape, expression = (torch.zeros(1, size) for size in sizes)
        places, mean = torch.from_numpy(file["places"]).float(), face_model.vertices(shape)[0]
        distance, self.vertices = torch.cdist(places, mean).min(1)
        if distance.max() > FARTHEST_PLACE:
            raise StudyError(f"{face_model.source}: no fit to photographs, its mean face is not the open model's")
        self.vertices[[*EDGES]] = torch.tensor(edge_vertices(face_model))
        self.spread = file["spread"].astype(np.float64)
        self.spread[[*EDGES]], self.spread[[*INNER_LIPS]] = EDGE_SPREAD, INNER_LIP_SPREAD
        self.spread[[*BESIDE_EDGES]] = np.inf
        self.inside = (-_beyond(mean, places) / FADE).clamp(0, 1).numpy()
        lips = (_beyond(mean, mean[self.vertices[[*OUTER_LIPS]]]) < 0).numpy()
        apart = torch.cdist(mean, mean[face_model.landmark_vertices(PUPILS)]).min(1).values
        irises = ((apart > IRIS[0]) & (apart < IRIS[1])).numpy()
        deep = *np.array_split([*LIDS], 2), [*NOSTRILS]
        beside = [np.interp(_beyond(mean, places[part]), BESIDE_LIDS, (1, 0)) for part in deep]
        self.deep, eyes = np.max(beside, 0), np.max(beside[:2], 0)
        above, height = _above_brows(mean, places), mean[:, 1] - places[UNDER_NOSE, 1]
        self.plain = _plain(above, height, eyes)
        brows = (above > -BELOW_BROW[0]) & (self.plain < 0.5)
        self.parts = Parts(self.plain > 0.5, above > ABOVE_BROW[1], brows, lips, irises)
        self.under_hair = (1 - self.inside) * np.interp(height, ABOVE_BEARD, (0, 1))
        relaxed = face_model.vertices(shape, expression)[0].numpy().astype(np.float64)
        self.mean = relaxed[self.vertices]
        self.mean[[*EDGES], 1] += file["heights"]
        modes = (face_model.modes(kind, self.vertices) for kind in ("shape", "expression"))
        self.shape_modes, self.expression_modes = (each.numpy().astype(np.float64) for each in modes)

    def fit(self, landmarks, shape, variance=SHAPE_VARIANCE):
        """Find the `Pose` behind landmarks (468, 2), in units of the crop, x to the right and y downwards.

        `shape` (S,) is what the regressor gives; it may move by a `variance`, 0 keeps it.
        """
        spread, closed = CORRELATION * EYES * self.spread, parting(landmarks) < CLOSED
        landmarks = landmarks.copy()
        free = np.concatenate([self.expression_modes, self.shape_modes if variance else self.shape_modes[:0]])
        prior = np.full(len(free), 1.0)
        prior[len(self.expression_modes) :] /= variance or 1.0
        base = self.mean + np.tensordot(shape, self.shape_modes, 1)
        centre, change = base.mean(0), np.zeros(len(free))
        rotation, place, log_distance = np.eye(3), landmarks.mean(0), np.log(USUAL_DISTANCE)
        log_scale = np.log(np.linalg.norm(landmarks - place) / np.linalg.norm((base - centre)[:, :2]))
        for _ in range(STEPS):
            points = (base + np.tensordot(change, free, 1) - centre) @ rotation.T
            seen, slopes = _project(points, place, np.exp(log_scale), np.exp(log_distance))
            if closed:  # faces differ in how far apart the landmarks of their closed lips lie
                relaxed = (base - centre) @ rotation.T
                meet(landmarks, _project(relaxed, place, np.exp(log_scale), np.exp(log_distance))[0])
            error = seen - landmarks
            length = np.linalg.norm(error, axis=1) / spread
            weight = np.minimum(1, OUTLIER / length.clip(min=1e-9)) / spread**2
            moved = np.einsum("kij,ekj->kie", slopes[:, :, :3], free @ rotation.T)
            turned = np.einsum("kij,kje->kie", slopes[:, :, :3], _turning(points))
            jacobian = np.concatenate([turned, slopes[:, :, 3:], moved], 2).reshape(2 * len(landmarks), -1)
            weighted = jacobian * np.repeat(weight, 2)[:, None]
            stiffness = np.concatenate([np.full(6, 1e-6), [DISTANCE_SPREAD**-2], prior])
            known = np.concatenate([np.zeros(6), [log_distance - np.log(USUAL_DISTANCE)], change])
            gradient = weighted.T @ error.ravel() + stiffness * known
            step = -np.linalg.solve(weighted.T @ jacobian + np.diag(stiffness), gradient)
            rotation = rotation_matrices(torch.from_numpy(step[None, [1, 0, 2]]))[0].numpy() @ rotation
            place, log_scale, log_distance = place + step[3:5], log_scale + step[5], log_distance + step[6]
            change = change + step[7:]
            if np.abs(step).max() < SMALLEST_STEP:
                break
        expression, moved = np.split(change, [len(self.expression_modes)])
        scale, distance, residual = np.exp(log_scale), np.exp(log_distance), np.linalg.norm(error, axis=1).mean() / EYES
        shape = shape + moved if variance else shape
        return Pose(rotation, centre, place, float(scale), float(distance), expression, shape, float(residual))

    def rest(self, landmarks, shape):
        """Correct what the regressor gives: the shape (S,) of the face at rest behind landmarks (468, 2), as in `fit`.

        Lids and brows are at rest in most photographs, and lips where they are closed and do not smile. Regressed
        shapes err there, and the fitted expression makes up for it. This part of the expression moves into the shape,
        as far as the face model's prior allows.
        """
        pose, moving = self.fit(landmarks, shape), np.zeros(len(self.mean))
        moved = np.tensordot(pose.expression, self.expression_modes, 1)
        face = self.mean + np.tensordot(pose.shape, self.shape_modes, 1) + moved
        mouth, eyes = (np.linalg.norm(np.subtract(*face[[*pair]])) for pair in (MOUTH_CORNERS, EYE_CORNERS))
        moving[[*LIDS, *BROWS]] = 1
        if parting(landmarks) < CLOSED:
            moving[[*LIPS]] = np.interp(mouth / eyes, SMILE, (1, 0))
        spread = np.where(moving > 0, REST_SPREAD, HOLD_SPREAD)[:, None]
        spread[[*BESIDE_EDGES]] = np.inf
        wanted = LARGEST_REST * np.tanh(moved / LARGEST_REST) * moving[:, None] / spread
        modes = (self.shape_modes / spread).reshape(len(shape), -1)
        return pose.shape + np.linalg.solve(modes @ modes.T + np.eye(len(shape)), modes @ wanted.ravel())


def _beyond(points, others):
    """How far points (N, 3) lie outside the convex hull of others, seen from the front, (N,) mm; negative inside."""
    turn = torch.linspace(0, 2 * torch.pi, 73)[1:]
    outward = torch.stack([turn.cos(), turn.sin()])
    return (points[:, :2] @ outward - (others[:, :2] @ outward).max(0).values).max(1).values


def _plain(above_brows, above_nose_end, eyes):
    """How far vertices are plain skin, by how far they lie above these places, mm, and at eyes (0 to 1): (N,)."""
    below = np.interp(-above_brows, BELOW_BROW, (0, 1)) * np.interp(above_nose_end, ABOVE_MOUSTACHE, (0, 1))
    return (below * (1 - eyes)).clip(np.interp(above_brows, ABOVE_BROW, (0, 1)))


def _above_brows(mean, places):
    """How far vertices (N, 3) of the mean face lie above the upper edges of its brows: (N,) mm."""
    return (mean[:, 1] - torch.from_numpy(np.interp(mean[:, 0].abs(), *places[[*BROW], :2].T))).numpy()


def edge_vertices(face_model):
    """Numbers of the vertices that the `EDGES` are named after."""
    return face_model.landmark_vertices([IBUG_LANDMARKS[number - 1] for number in EDGES.values()])


def parting(landmarks):
    """How far the lips of landmarks (468, 2), in the framing of `CROP`, are parted, in distances between the eyes."""
    upper, lower = (landmarks[rows, 1] for rows in PARTING)
    return (lower - upper).mean() / EYES


def meet(landmarks, relaxed):
    """Part the lips of landmarks (468, 2), in place, as far as those of a relaxed face (468, 2)."""
    upper, lower = PARTING
    middle, apart = (landmarks[upper] + landmarks[lower]) / 2, relaxed[lower] - relaxed[upper]
    landmarks[upper], landmarks[lower] = middle - apart / 2, middle + apart / 2


def _project(points, place, scale, distance):
    """Points (K, 3) of the camera frame in the picture (K, 2), and slopes (K, 2, 7): by x, y, z, place, logarithms."""
    depth = distance - points[:, 2]
    growth = scale * distance / depth
    offset = growth[:, None] * points[:, :2] * [1, -1]
    slopes = np.zeros((len(points), 2, 7))
    slopes[:, 0, 0], slopes[:, 1, 1] = growth, -growth
    slopes[:, :, 2] = offset / depth[:, None]
    slopes[:, :, 3:5] = np.eye(2)
    slopes[:, :, 5] = offset
    slopes[:, :, 6] = -offset * (points[:, 2] / depth)[:, None]
    return place + offset, slopes


def _turning(points):
    """Slopes (K, 3, 3) of turned points by a small rotation: of omega x p."""
    return np.cross(points[:, None], np.eye(3))
