"""The morphable face model (paper 3.2, Eq. 1): coefficients in, vertices and albedo out."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

from lib.core.errors import StudyError
from lib.core.tensors import Batch, digest
from lib.face_model.file import landmark_vertices, read_face_model, write_face_model
from lib.face_model.texture import Atlas
from lib.rendering.crop import POINT_NAMES

ALIGNMENT_LANDMARKS = (
    ("right.eye.corner_inner", "right.eye.corner_outer"),
    ("left.eye.corner_inner", "left.eye.corner_outer"),
    ("right.lips.corner",),
    ("left.lips.corner",),
)
"""Landmarks (BFM's names) whose mean is each of `lib.rendering.crop.POINT_NAMES`."""

IBUG_LANDMARKS = tuple(f"ibug.{number:02d}" for number in range(1, 69))
"""Names of the 68 points of the 300-W annotation (Sagonas et al. 2013), from the subject's right to the left."""

NOW_LANDMARKS = tuple(IBUG_LANDMARKS[number - 1] for number in (37, 40, 43, 46, 34, 49, 55))
"""The seven points that place a face in the NoW benchmark (Sanyal et al. 2019): eye corners, under the nose, mouth."""


@dataclass(frozen=True)
class Coefficients(Batch):
    """Identity of B faces (paper 3.2): shape (B, S) and texture (B, K), standard normal over the model's population."""

    shape: torch.Tensor
    texture: torch.Tensor

    def cat(self):
        """Return shape and texture side by side, (B, S + K)."""
        return torch.cat([self.shape, self.texture], dim=-1)

    @classmethod
    def split(cls, values, shape_dimension):
        """Cut a tensor (B, S + K) of regressed values into shape (the first S) and texture."""
        return cls(values[..., :shape_dimension], values[..., shape_dimension:])


class FaceModel(torch.nn.Module):
    """A linear model of face shape, expression and albedo over one mesh (Eq. 1).

    Everything is a buffer: nothing is trained, and nothing enters a checkpoint. Vertices are in mm in the Basel Face
    Model's frame: +x to the subject's left, +y up, +z out of the face, the nose tip near (0, -27, 112).

    `data` is a `FaceModelFile`, `source` where it comes from, named in errors.

    Attributes
    ----------
    vertex_count, shape_dimension, texture_dimension, expression_dimension : int
        N, and the numbers of coefficients S, K and E.
    triangles : Tensor (T, 3)
        int64, counter-clockwise seen from outside.
    landmarks : dict of str to int
        Vertex of each named landmark, with BFM's names (`center.nose.tip`, `left.eye.corner_outer`, …), in the open
        model `IBUG_LANDMARKS` too.
    texture_layout : tuple of (ndarray (U, 2), ndarray (T, 3)) or None
        As `FaceModelFile.texture_layout`; None where the file has none.
    """

    def __init__(self, data, source="the face model"):
        super().__init__()
        self.source, self._data = str(source), data
        self._shape = _Decoder(data.shape)
        self._texture = _Decoder(data.color, limits=(0.0, 1.0))
        self._expression = _Decoder(data.expression)
        dimensions = [len(model.variance) for model in (data.shape, data.color, data.expression)]
        self.shape_dimension, self.texture_dimension, self.expression_dimension = dimensions
        self.vertex_count = data.points.shape[1]
        triangles = torch.from_numpy(data.cells.astype("int64")).t().contiguous()
        self.register_buffer("triangles", triangles, persistent=False)
        self.texture_layout = data.texture_layout
        self.landmarks = landmark_vertices(self.source, data.landmarks, data.shape.mean.reshape(-1, 3))

    @classmethod
    def load(cls, path, shape_dimension=199, texture_dimension=199, expression_dimension=100):
        """Read a model of the BFM 2017 layout: an open model or the Basel Face Model's own file.

        The dimensions are how many components of each linear model to keep. StudyError: any file that is not a complete
        model in this layout, in mm and sRGB in [0, 1].
        """
        return cls(read_face_model(path, shape_dimension, texture_dimension, expression_dimension), path)

    def save(self, path):
        """Write the model in the BFM 2017 layout; `load` gives back exactly the same values."""
        write_face_model(path, self._data)

    def vertices(self, shape, expression=None):
        """Decode shape (B, S) and expression (B, E): S(s, e) = mu_S + P_SS W_SS s + P_SE W_SE e (Eq. 1).

        Coefficients are standard normal, on any device; without an expression the face is neutral, and lacks the mean
        of the expressions. Tensor (B, N, 3), mm in the model's frame, differentiable, on the model's device.
        """
        flat = self._shape(shape)
        if expression is not None:
            flat = flat + self._expression(expression)
        return flat.unflatten(-1, (-1, 3))

    def albedo(self, texture):
        """Decode texture (B, K): T(t) = mu_T + P_T W_T t (Eq. 1), clamped to the colours there are.

        Tensor (B, N, 3), sRGB-encoded in [0, 1], differentiable where it is not clamped.
        """
        return self._texture(texture).unflatten(-1, (-1, 3))

    def modes(self, kind, vertices=slice(None), count=None):
        """What a standard deviation of each of the first `count` coefficients changes at some vertices: (count, V, 3).

        `kind` is "shape" or "expression" (displacements in mm), or "texture" (differences of the colours, sRGB).
        """
        part = {"shape": self._shape, "texture": self._texture, "expression": self._expression}[kind]
        rows = part.basis.unflatten(0, (-1, 3))[vertices, :, :count]
        return (rows * part.deviation[:count]).movedim(-1, 0)

    @cached_property
    def atlas(self):
        """Where the texels of the model's texture lie (`lib.face_model.texture.Atlas`); None without a layout."""
        return self.texture_layout and Atlas(self.triangles.cpu().numpy(), self.texture_layout)

    @property
    def alignment_vertices(self):
        """Vertices whose mean is each of `POINT_NAMES`: dict of tuples; StudyError where the file lacks corners."""
        return {point: tuple(self.landmark_vertices(names)) for point, names in zip(POINT_NAMES, ALIGNMENT_LANDMARKS)}

    def landmark_vertices(self, names):
        """Look up vertices of landmarks, such as `IBUG_LANDMARKS`: list of int; StudyError where one is not named."""
        missing = [name for name in names if name not in self.landmarks]
        if missing:
            raise StudyError(
                f"{self.source}: landmarks {missing} are missing; found {sorted(self.landmarks)}. Add them to "
                "metadata/landmarks/json."
            )
        return [self.landmarks[name] for name in names]


def digest_face_model(face_model):
    """Hash all that a model is made of: str."""
    return digest(*face_model.buffers())


class _Decoder(torch.nn.Module):
    """One linear model: mean + basis (coefficients * deviation), cut off at limits."""

    def __init__(self, model, limits=None):
        super().__init__()
        self._limits = limits
        for name in ("mean", "basis", "variance"):
            self.register_buffer(name, torch.from_numpy(getattr(model, name)), persistent=False)
        # the coefficients are scaled, not the basis: a copy of it would take as much memory again
        self.register_buffer("deviation", self.variance.sqrt(), persistent=False)

    def forward(self, coefficients):
        values = F.linear(coefficients.to(self.deviation.device) * self.deviation, self.basis, self.mean)
        return values.clamp(*self._limits) if self._limits else values
