"""The centre of renders: a network's mean descriptor over renders of random faces of the model.

Descriptors of renders share an offset from those of photographs, whoever is shown. Cosines between the two kinds
therefore subtract from each its own centre: from photographs the mean of the training photographs
(`lib.photos.store.FeatureStore.centre`), from renders the mean of these, the same for every method.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from lib.core import paths
from lib.core.files import digest_of_sources
from lib.core.tensors import fingerprint, kept_tensors
from lib.face_model.model import Coefficients, digest_face_model
from lib.rendering.renderer import frontal_scene, render

KEPT = paths.CACHE / "reference_renders"  # by the digest of all that they depend on
FACES = 200
SEED = 2018
BATCH = 25


@dataclass(frozen=True)
class ReferenceRenders:
    """What a network sees of them, in the frontal pose and light of the evaluation (paper 4.3)."""

    centre: torch.Tensor  # (E,): mean raw descriptor of the random faces
    mean_face: torch.Tensor  # (F,): features of the model's mean face
    distance: float  # from the mean face to a random face, in features: the mean over the random faces


@lru_cache(maxsize=4)
def reference_renders(face_model, network):
    """Render `FACES` random faces, and the mean face; both arguments, and the results, are on one device."""
    lib, device = Path(__file__).parents[1], face_model.triangles.device
    # of what draws and looks
    code = digest_of_sources(*(lib / package for package in ("face_model", "rendering", "recognition")))
    made_of = [digest_face_model(face_model), network.name, network.fingerprint, FACES, SEED, code, device.type]
    path = KEPT / f"{fingerprint(made_of)}.safetensors"
    seen = kept_tensors(path, lambda: _see(face_model, network), {})
    return ReferenceRenders(seen["centre"].to(device), seen["mean_face"].to(device), seen["distance"].item())


@torch.no_grad()
def _see(face_model, network):
    """Render the random faces and the mean face; return the fields of `ReferenceRenders` as tensors."""
    generator = torch.Generator().manual_seed(SEED)
    sizes = face_model.shape_dimension, face_model.texture_dimension
    parts = (torch.cat([torch.zeros(1, size), torch.randn(FACES, size, generator=generator)]) for size in sizes)
    faces = Coefficients(*parts)
    seen = [
        network.descriptor(render(face_model, faces[rows], frontal_scene(len(rows)), network.crop))
        for rows in torch.arange(len(faces)).split(BATCH)
    ]
    features, descriptors = (torch.cat(values) for values in zip(*seen, strict=True))
    distance = (features[1:] - features[0]).norm(dim=1).mean()
    return dict(centre=descriptors[1:].mean(0), mean_face=features[0], distance=distance)


def centred_on_renders(network, face_model):
    """Return the network that gives embeddings of renders: it subtracts their centre, not the photographs'."""
    return network.with_centre(reference_renders(face_model, network).centre)
