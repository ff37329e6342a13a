"""Face recognition networks behind one contract: images in a network's own crop -> features and an embedding.

The decoder regresses from `features` (paper 3.1), the identity loss compares embeddings (3.3.2), and a network that
took no part in training evaluates the result (4.3). Raw descriptors crowd around their mean (cosines of different
people reach 0.85): a network subtracts a centre, the mean descriptor of a reference set, before it normalises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.files import sha256_of, write_atomically
from lib.core.params import FACE_ONLY, MIRRORED
from lib.core.processes import best_device
from lib.recognition import sources as network_files
from lib.recognition.dlib import DlibNetwork, convert_dlib_weights
from lib.recognition.facenet import FaceNet128Network, FaceNetNetwork, convert_facenet_weights, convert_keras_weights
from lib.recognition.mobilenet import FaceResNetwork, SFaceNetwork, convert_faceres_weights, convert_sface_weights
from lib.rendering.crop import Crop

DLIB_CROP = Crop(150, ((0.316995, 0.310660), (0.669841, 0.310660), (0.336099, 0.686822), (0.650736, 0.686822)))
"""dlib's face chip with padding 0.25: its mean 68-point shape, eye contours averaged, outer mouth corners."""

ARCFACE_POINTS = ((0.341916, 0.461574), (0.656534, 0.459834), (0.370976, 0.824692), (0.631517, 0.823250))
"""ArcFace's template, which several networks share."""
FACERES_CROP, SFACE_CROP = Crop(224, ARCFACE_POINTS), Crop(112, ARCFACE_POINTS)

FACENET_CROP = Crop(160, ((0.303, 0.354), (0.697, 0.354), (0.328, 0.788), (0.672, 0.788)))
"""Mean landmarks in MTCNN's box without margin (256 photographs of LFW), made square at the same area."""

FACENET128_CROP = Crop(160, tuple((0.5 + 0.83 * (x - 0.5), 0.5 + 0.83 * (y - 0.5)) for x, y in FACENET_CROP.points))
"""Wider: true accepts at 0.1 % false ones on LFW rise from .990 to .999."""

OVAL_CENTRE, OVAL_RADII = (0.0, 0.5), (1.0, 1.1)  # from between the eyes, in distances of eyes; to the mouth


@dataclass(frozen=True)
class NetworkKind:
    """What is fixed about a network: how it is built and framed, how its published file is found and converted."""

    architecture: type[nn.Module]
    crop: Crop
    find_source: Callable
    convert: Callable


KINDS = {
    "dlib": NetworkKind(DlibNetwork, DLIB_CROP, network_files.find_dlib_file, convert_dlib_weights),
    "facenet": NetworkKind(FaceNetNetwork, FACENET_CROP, network_files.find_facenet_file, convert_facenet_weights),
    "facenet128": NetworkKind(FaceNet128Network, FACENET128_CROP, network_files.find_keras_file, convert_keras_weights),
    "faceres": NetworkKind(FaceResNetwork, FACERES_CROP, network_files.find_faceres_files, convert_faceres_weights),
    "sface": NetworkKind(SFaceNetwork, SFACE_CROP, network_files.find_sface_file, convert_sface_weights),
}


@dataclass(frozen=True)
class Identity:
    """Who is seen: the penultimate layer (B, F), an average pool, and an embedding (B, E) of unit length."""

    features: torch.Tensor
    embedding: torch.Tensor


class IdentityNetwork(nn.Module):
    """A frozen recognition network, differentiable down to the pixels.

    `name` is one of `KINDS`, `crop` the framing that its images must have (`image_size` in pixels), F is
    `feature_dimension` and E `embedding_dimension`. `fingerprint` is the SHA-256 of its weights. `centre` (E,) is
    subtracted from the raw descriptor; zeros until `with_centre`.
    """

    def __init__(self, name, body, fingerprint, centre=None):
        super().__init__()
        self.name, self.body, self.fingerprint = name, body, fingerprint
        self.crop = KINDS[_base(name)].crop
        self.image_size = self.crop.size
        self.feature_dimension, self.embedding_dimension = body.feature_dimension, body.descriptor_dimension
        self.register_buffer("centre", torch.zeros(self.embedding_dimension) if centre is None else centre)
        self.eval().requires_grad_(False)

    def with_centre(self, centre):
        """Return a network that shares these weights and subtracts `centre`, array-like (E,)."""
        centre = torch.as_tensor(centre, dtype=self.centre.dtype, device=self.centre.device).clone()
        if centre.shape != self.centre.shape:
            raise ValueError(f"{self.name}'s centre has shape {tuple(self.centre.shape)}, not {tuple(centre.shape)}")
        return IdentityNetwork(self.name, self.body, self.fingerprint, centre)

    def descriptor(self, images):
        """Return what is seen in `images` as of `forward`, before centring: features (B, F), raw descriptors (B, E)."""
        wanted = (3, self.image_size, self.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted:
            raise ValueError(f"{self.name} takes images of shape (B, {wanted}), not {tuple(images.shape)}")
        images = images.to(self.centre.device)
        images = images.flip(3) if self.name.endswith(MIRRORED) else images
        if self.name.endswith(FACE_ONLY):
            images = torch.where(face_oval(self.crop).to(images.device), images, 0.5)
        return self.body(images.contiguous(memory_format=torch.channels_last))

    def embed(self, descriptor):
        """Centre raw descriptors (..., E) and scale them to unit length, where they are."""
        return F.normalize(descriptor - self.centre.to(descriptor.device), dim=-1)

    @torch.no_grad()
    def head(self):
        """Weight (E, F) and bias (E,) of the layer that makes raw descriptors of features; StudyError: none does."""
        if not hasattr(self.body, "head"):
            raise StudyError(
                f"{self.name} does not compute its embedding from the pooled layer: choose another network"
            )
        inputs = torch.eye(self.feature_dimension, device=self.centre.device)
        bias = self.body.head(torch.zeros_like(inputs[:1]))
        return (self.body.head(inputs) - bias).T, bias[0]

    def forward(self, images):
        """Map images (B, 3, image_size, image_size), sRGB in [0, 1], framed as `crop` says, to an `Identity`."""
        features, descriptor = self.descriptor(images)
        # under autocast the layers give bfloat16, which is too coarse for losses
        return Identity(features.to(images.dtype), self.embed(descriptor.to(images.dtype)))


def prepare_network(name, folder, raw_folder):
    """Find a network's published file in `raw_folder`, or fetch it there; convert it to `folder/<name>.safetensors`.

    StudyError: the file is missing, damaged or cannot be fetched.
    """
    kind = KINDS[name]
    state = kind.convert(kind.find_source(raw_folder))
    path = Path(folder) / f"{name}.safetensors"
    write_atomically(path, lambda temporary: save_file(state, temporary))
    return path


def load_network(name, folder):
    """Load a network that `prepare_network` made, on `best_device()`, with a centre of zeros.

    StudyError: the file is missing or not this network's.
    """
    path = Path(folder) / f"{_base(name)}.safetensors"
    if not path.is_file():
        raise StudyError(f"{path} is missing: run the networks stage (dvc repro networks), which makes it.")
    body = KINDS[_base(name)].architecture()
    try:
        body.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise StudyError(f"{path} does not hold the {name} network ({error}): run the networks stage again.") from error
    body = body.to(memory_format=torch.channels_last)  # on the CPU a third faster
    return IdentityNetwork(name, body, sha256_of(path)).to(best_device())


def load_centred(name, store):
    """Load a network of the study that subtracts its mean descriptor of the `FeatureStore`'s training photographs."""
    return load_network(name, paths.NETWORKS).with_centre(store.centre(name))


def face_oval(crop):
    """Return the pixels (S, S), bool, of an oval inside a frontal face, the same for photographs and renders."""
    right, left, *mouth = crop.canonical_points()
    middle, unit = (right + left) / 2, torch.stack([left[0] - right[0], sum(mouth)[1] / 2 - (right + left)[1] / 2])
    centre, radii = middle + torch.tensor(OVAL_CENTRE) * unit, torch.tensor(OVAL_RADII) * unit
    places = (torch.arange(crop.size) + 0.5) / crop.size
    x, y = ((places - centre[axis]) / radii[axis] for axis in (0, 1))
    return x.square() + y.square()[:, None] <= 1


def _base(name):
    return name.removesuffix(MIRRORED).removesuffix(FACE_ONLY)
