"""One step of stage 2: a batch of photographs and synthetic faces, and the losses on it (paper 3.3)."""

from dataclasses import dataclass, replace

import torch

from lib.core.errors import StudyError
from lib.core.processes import own_part, world_size
from lib.rendering.renderer import Scene, SceneDistribution, render, sample_scenes
from lib.training.augmentation import Augmentation, Defects
from lib.training.losses import (
    LossWeights,
    batch_distribution_loss,
    identity_loss,
    loopback_loss,
    parameter_loss,
    total_loss,
)
from lib.training.synthetic import Pairs


@dataclass(frozen=True)
class Photographs:
    """Real faces as stage 2 sees them: features (N, F) and unit-length embeddings (N, E) of the training network."""

    features: torch.Tensor
    embeddings: torch.Tensor

    def __len__(self):
        return len(self.features)

    def __getitem__(self, rows):
        return Photographs(self.features[rows], self.embeddings[rows])

    def to(self, device):
        """The same photographs on another device."""
        return Photographs(self.features.to(device), self.embeddings.to(device))


@dataclass(frozen=True)
class Setting:
    """What stays fixed in stage 2: the model, the network (centred on renders), the range of scenes and of defects."""

    face_model: torch.nn.Module
    network: torch.nn.Module
    distribution: SceneDistribution
    augmentation: Augmentation = Augmentation()


@dataclass(frozen=True)
class Batch:
    """What one process works on in one step of stage 2.

    Attributes
    ----------
    photographs : Photographs
        All of the step, of all processes: the batch distribution loss is taken over them.
    rendered : slice
        The R photographs that this process renders (identity and loopback loss).
    synthetic : Pairs
        Of this process (parameter loss).
    scene : Scene
        V * R pictures; view v of the r-th rendered photograph is entry v * R + r.
    defects : Defects or None
        Of these pictures.
    """

    photographs: Photographs
    rendered: slice
    synthetic: Pairs
    scene: Scene
    defects: Defects | None = None


def draw_batch(setting, photographs, pairs, params, generator):
    """Draw one step's batch, the same on all processes, and return this process's part of it.

    Parameters
    ----------
    setting : Setting
    photographs : Photographs
    pairs : Pairs
    params : Stage2Params
    generator : torch.Generator
        In the same state on all processes, and moved on alike.

    Returns
    -------
    Batch
        On the face model's device.

    Raises
    ------
    StudyError
        There are fewer photographs than processes.
    """
    device, distribution = setting.face_model.triangles.device, setting.augmentation.scenes(setting.distribution)
    if params.frontal:
        distribution = replace(distribution, yaw=0.0, pitch=0.0)
    rendered = min(params.photographs, len(photographs)) // world_size() * world_size()
    if rendered == 0:
        raise StudyError(f"{len(photographs)} photographs cannot be shared by {world_size()} processes")
    rows = torch.randperm(len(photographs), generator=generator)[: params.distribution_batch]
    chosen = torch.randint(len(pairs), (params.synthetic_faces,), generator=generator)
    scene = sample_scenes(rendered * params.views, generator, distribution)
    defects = setting.augmentation.draw(len(scene), generator)
    views = torch.arange(len(scene)).view(params.views, rendered)[:, own_part(rendered)].flatten()
    return Batch(
        photographs[rows].to(device),
        own_part(rendered),
        pairs[chosen[own_part(len(chosen))]].to(device),
        scene[views].to(device),
        defects[views] if defects else None,
    )


def stage2_losses(regressor, setting, batch, params, stage1_params):
    """Compute the terms of Eq. 2 on one hybrid batch (paper 3.3).

    The views that the identity loss compares with the photographs are the ones that the loopback loss reads again: one
    render and one pass of the network serve both. Every process takes the batch distribution loss over the photographs
    of all, since the regressor costs next to nothing; the other terms are means over its own equal part. So the mean of
    the processes' losses is the loss of one process, and the mean of their gradients its gradient.

    Parameters
    ----------
    regressor : Regressor
    setting : Setting
    batch : Batch
    params : Stage2Params
    stage1_params : Stage1Params
        Its weights of shape and texture are Eq. 3's.

    Returns
    -------
    dict of str to Tensor ()
        `parameter`, `identity`, `batch`, `loop`, unweighted, and their weighted sum `total`.
    """
    weights = LossWeights(
        params.identity_weight,
        params.batch_weight,
        params.loop_weight,
        stage1_params.shape_weight,
        stage1_params.texture_weight,
    )
    photographs, synthetic = batch.photographs, batch.synthetic
    predicted = regressor(photographs.features)
    faces = predicted[batch.rendered]
    images = render(setting.face_model, faces, batch.scene, setting.network.crop)
    if batch.defects:
        images = batch.defects.apply(images)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=params.precision == "bfloat16"):
        seen = setting.network(images)
    terms = dict(
        parameter=parameter_loss(regressor(synthetic.features), synthetic.coefficients, weights.shape, weights.texture),
        identity=identity_loss(seen.embedding, photographs.embeddings[batch.rendered]),
        batch=batch_distribution_loss(predicted),
        loop=loopback_loss(regressor(seen.features), faces, weights.shape, weights.texture),
    )
    return terms | dict(total=total_loss(**terms, weights=weights))
