"""Full-perspective camera that looks straight into a recognition network's crop.

The model is turned about the mean of its alignment landmarks, at the origin; the camera stands at +distance on the z
axis and looks along -z. The similarity that moves the projected landmarks onto the crop's canonical points is linear in
clip coordinates and folded into the projection: renders are framed as photographs are (`lib.rendering.crop`), without
resampling, and differentiably.
"""

import torch

from lib.core.tensors import constant
from lib.rendering.crop import POINT_NAMES, fit_similarity

NEAREST, FARTHEST = 0.1, 10.0  # near and far plane, as multiples of the distance between camera and face


def rotation_matrices(angles):
    """Turn the model by `angles` (S, 3), radians: yaw, then pitch, then roll.

    Yaw turns the face towards +x (its own left), pitch downwards, roll counter-clockwise in the picture. Returns
    rotations R (S, 3, 3) of column vectors: camera frame = R (model frame - centre).
    """
    (cos_yaw, cos_pitch, cos_roll), (sin_yaw, sin_pitch, sin_roll) = angles.cos().unbind(1), angles.sin().unbind(1)
    zero, one = torch.zeros_like(cos_yaw), torch.ones_like(cos_yaw)

    def matrix(*entries):
        return torch.stack(entries, -1).unflatten(-1, (3, 3))

    yaw = matrix(cos_yaw, zero, sin_yaw, zero, one, zero, -sin_yaw, zero, cos_yaw)
    pitch = matrix(one, zero, zero, zero, cos_pitch, -sin_pitch, zero, sin_pitch, cos_pitch)
    roll = matrix(cos_roll, -sin_roll, zero, sin_roll, cos_roll, zero, zero, zero, one)
    return roll @ pitch @ yaw


def alignment_points(vertices, alignment_vertices):
    """Return the landmarks `POINT_NAMES` of meshes (B, N, 3) as means of their vertices: Tensor (B, 4, 3).

    `alignment_vertices` names the vertices of each landmark: a mapping from the names, or a sequence in their order.
    """
    if hasattr(alignment_vertices, "keys"):
        alignment_vertices = [alignment_vertices[name] for name in POINT_NAMES]
    # one look-up for all: the gradient of each would be as large as the mesh
    every = constant(tuple(int(index) for indices in alignment_vertices for index in indices), vertices.device)
    parts = vertices.index_select(1, every).split([len(indices) for indices in alignment_vertices], 1)
    return torch.stack([part.mean(1) for part in parts], 1)


def crop_projection(angles, distance, points, crop, framing=None):
    """Build the projections that put faces into a crop; return projection, rotation, centre.

    `angles` (S, 3) are as of `rotation_matrices` (a roll only turns the lights: the crop turns it back), `points`
    (S, 4, 3) the landmarks `POINT_NAMES` in the model's frame, mm, `distance` (S,) mm to their mean; `framing` (S, 4)
    is as in `lib.rendering.scenes.Scene`; None puts the landmarks on the crop's canonical points.

    Projections (S, 4, 4) lead from homogeneous model coordinates (columns) to clip coordinates (x, y, z, w): y up, w
    the distance along the view axis in mm, z / w from -1 at the near to 1 at the far plane; differentiable, finite in
    profile too. Rotations are `rotation_matrices`, centres (S, 3) the model's point at the camera frame's origin.
    """
    rotation, centre = rotation_matrices(angles), points.mean(1)
    shift = -(rotation @ centre.unsqueeze(2))
    view = torch.cat([rotation, shift], 2)
    x, y, toward = view.unbind(1)
    last = constant((0.0, 0.0, 0.0, 1.0), points.device)
    w = -toward + distance[:, None] * last
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], 2)
    seen = homogeneous @ torch.stack([x, y, w], 2)
    target = crop.canonical_points(points.device) * 2 - 1
    target = target * constant((1.0, -1.0), points.device)
    if framing is not None:
        right, up, growth, roll = framing[:, :, None].unbind(1)
        cos, sin = (1 + growth) * roll.cos(), (1 + growth) * roll.sin()
        across, high = target.unbind(1)
        # the crop's side is 2 long
        target = torch.stack([cos * across - sin * high + 2 * right, sin * across + cos * high + 2 * up], 2)
    a, b, shift_x, shift_y = (value[:, None] for value in fit_similarity(seen[..., :2] / seen[..., 2:], target))
    near, far = NEAREST * distance[:, None], FARTHEST * distance[:, None]
    z = (far + near) / (far - near) * w - 2 * far * near / (far - near) * last
    projection = torch.stack([a * x - b * y + shift_x * w, b * x + a * y + shift_y * w, z, w], 1)
    return projection, rotation, centre


def clip_projection(camera, distance):
    """Put any camera in clip coordinates, float32 (1, 4, 4) as `crop_projection`.

    `camera` (3, 4), an array, maps homogeneous points in mm to (x w, y w, w): units of the picture's sides, x to the
    right and y downwards, and w the distance along the view axis in mm, for a face at about `distance`.
    """
    x, y, w = torch.from_numpy(camera)
    near, far = NEAREST * distance, FARTHEST * distance
    z = (far + near) / (far - near) * w - 2 * far * near / (far - near) * w.new_tensor([0, 0, 0, 1])
    return torch.stack([2 * x - w, w - 2 * y, z, w]).float()[None]


def project(vertices, projection):
    """Apply projections (S, 4, 4) to meshes (B, N, 3): clip coordinates (S, N, 4); the i-th belongs to mesh i % B."""
    views = len(projection) // len(vertices)
    return torch.baddbmm(projection[:, None, :, 3], vertices.repeat(views, 1, 1), projection[:, :, :3].transpose(1, 2))


def picture_points(points, projection):
    """Where points (S, P, 3) lie in the pictures of projections (S, 4, 4), as `lib.rendering.crop.Crop.points`."""
    clip = project(points, projection)
    return (clip[..., :2] / clip[..., 3:] * constant((1.0, -1.0), clip.device) + 1) / 2
