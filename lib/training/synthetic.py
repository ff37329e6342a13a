"""Synthetic faces as training sees them: features of a render, and the coefficients behind it (paper 3.3)."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from lib.core.progress import progress
from lib.core.tensors import Batch, fingerprint, kept_tensors, load_tensors, save_tensors
from lib.face_model.model import Coefficients, digest_face_model
from lib.recognition.reader import FeatureReader
from lib.rendering.renderer import sample_scenes
from lib.training.augmentation import Augmentation
from lib.training.looks import Looks

FACES_PER_SHARD = 1000
RENDER_BATCH = 50


@dataclass(frozen=True)
class SyntheticFaces(Batch):
    """Features (M, F) of one render each of M random faces, and their true coefficients (M, ...)."""

    features: torch.Tensor
    coefficients: Coefficients

    def save(self, path):
        """Write the faces to a safetensors file."""
        tensors = dict(features=self.features, shape=self.coefficients.shape, texture=self.coefficients.texture)
        save_tensors(path, tensors, {})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; StudyError when the file is missing or damaged."""
        tensors, _ = load_tensors(path)
        return cls(tensors["features"], Coefficients(tensors["shape"], tensors["texture"]))


def make_synthetic_faces(face_model, reader, count, seed, distribution, folder, augmentation=None, looks=None):
    """Draw random faces, render each in a random scene and keep the features that a `FeatureReader` sees (paper 3.3).

    Shape and texture are independent and standard normal; `looks` (`Looks` or None) add expressions and hair. The work
    is done in shards, each with its own seed, in `folder`: an interrupted run resumes, a larger `count` adds shards.
    """
    settings = dict(seed=seed, networks=reader.fingerprints, face_model=digest_face_model(face_model))
    augmentation, looks = augmentation or Augmentation(), looks or Looks()
    distribution = augmentation.scenes(distribution)
    settings |= asdict(distribution) | asdict(augmentation) | asdict(looks)
    shards = []
    with progress(description="synthetic faces", total=count, unit="face") as bar:
        for index, start in enumerate(range(0, count, FACES_PER_SHARD)):
            size, chance = min(FACES_PER_SHARD, count - start), seed * 1_000_003 + index
            make = partial(_make_shard, face_model, reader, size, chance, distribution, augmentation, looks)
            path = Path(folder) / f"shard-{index:04d}.safetensors"
            meta = dict(settings=fingerprint(settings), size=size)
            shards.append(kept_tensors(path, make, meta))
            bar.update(size)
    joined = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    return SyntheticFaces(joined["features"], Coefficients(joined["shape"], joined["texture"]))


def make_faces_of_stage1(face_model, network, second, params, distribution, augmentation, folder):
    """Make the synthetic faces that `params` (`Stage1Params`) asks for, as `make_synthetic_faces` does.

    Returns `params.faces` as the training network reads them, and `params.second_faces` as it and the `second` do, of
    which the first are the same renders.
    """
    looks = Looks(params.expression, params.hair)

    def make(reader, count, seed, folder):
        return make_synthetic_faces(face_model, reader, count, seed, distribution, folder, augmentation, looks)

    both = make(FeatureReader(network, second), params.second_faces, params.seed, folder / "all")
    alone = SyntheticFaces(both.features[:, : network.feature_dimension], both.coefficients)[: params.faces]
    if missing := params.faces - len(alone):
        others = make(FeatureReader(network), missing, params.seed + 1, folder)
        features = torch.cat([alone.features, others.features])
        coefficients = torch.cat([alone.coefficients.cat(), others.coefficients.cat()])
        alone = SyntheticFaces(features, Coefficients.split(coefficients, face_model.shape_dimension))
    return alone, both


@torch.no_grad()
def _make_shard(face_model, reader, size, seed, distribution, augmentation, looks):
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(size, face_model.shape_dimension, generator=generator)
    texture = torch.randn(size, face_model.texture_dimension, generator=generator)
    features = []
    for rows in torch.arange(size).split(RENDER_BATCH):
        scene = sample_scenes(len(rows), generator, distribution)
        faces = Coefficients(shape[rows], texture[rows])
        draw = augmentation.draw(len(rows), generator)
        meshes = looks.draw(face_model, faces, generator)
        features.append(reader.see_meshes(face_model, meshes, scene, draw).features.cpu())
    return dict(features=torch.cat(features), shape=shape, texture=texture)
