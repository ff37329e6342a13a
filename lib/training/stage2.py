"""Stage 2 of training: photographs without labels and synthetic faces together (paper 3.3)."""

import time
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from lib.core.errors import StudyError
from lib.core.processes import best_precision, mean_over_processes, own_part, rank, world_size
from lib.core.progress import progress
from lib.core.tensors import digest
from lib.face_model.model import FaceModel, digest_face_model
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.renderer import Scene, SceneDistribution, sample_scenes
from lib.training import losses
from lib.training.augmentation import Augmentation, AugmentationDraw
from lib.training.loop import backward, load_run, make_optimizer, refuse_nan, save_run, set_learning_rate
from lib.training.metric import posterior_map
from lib.training.stage1 import SyntheticFaces

RECORD_STEPS = 10
TRANSFORM_UNITS = 256
MANY = 100_000  # photographs beyond which a step does not permute all of them


@dataclass(frozen=True)
class Stage2Inputs:
    """What stays fixed in stage 2; `reader`'s network is centred on renders."""

    face_model: FaceModel
    reader: FeatureReader
    photographs: Photographs
    synthetic: SyntheticFaces
    distribution: SceneDistribution
    augmentation: Augmentation = Augmentation()
    metric: torch.Tensor | None = None  # (S, S) of `metric_loss`, where it has a weight
    colour: torch.Tensor | None = None  # (3, K) of `skin_loss`

    def settings(self):
        """All that a run depends on, for its checkpoint."""
        seen = self.photographs
        tensors = [seen.features, seen.embeddings, self.synthetic.features]
        more = seen.mirrored, seen.skin, seen.shape, seen.second_embeddings
        tensors += [values for values in more if values is not None]
        scenes, augmentation = asdict(self.distribution), asdict(self.augmentation)
        model = digest_face_model(self.face_model)
        return dict(inputs=digest(*tensors), face_model=model, scenes=scenes, augmentation=augmentation)


@dataclass(frozen=True)
class Stage2Batch:
    """What one process works on in one step: all `photographs`, of which it renders R in V views."""

    photographs: Photographs
    rendered: slice  # of the photographs
    synthetic: SyntheticFaces
    scene: Scene  # view v of photograph r is entry v * R + r, in `draw` too
    draw: AugmentationDraw | None = None


def draw_batch(inputs, params, generator):
    """Draw one step's batch, the same on all processes, and return this process's part of it, a `Stage2Batch`.

    Each photograph has `params.views` random views; `frontal_identity` adds one from the front, behind all others.
    """
    device, photographs, synthetic = inputs.face_model.triangles.device, inputs.photographs, inputs.synthetic
    rendered = min(params.photographs, len(photographs)) // world_size() * world_size()
    if rendered == 0:
        raise StudyError(f"{len(photographs)} photographs cannot be shared by {world_size()} processes")
    photographs = photographs[_some_of(len(photographs), params.distribution_batch, generator)]
    if photographs.mirrored is not None:
        # anything between the features of a photograph and those of its mirror image
        share = torch.rand(len(photographs), 1, generator=generator)
        features = torch.lerp(photographs.features, photographs.mirrored, share)
        photographs = replace(photographs, features=features, mirrored=None)
    chosen = torch.randint(len(synthetic), (params.synthetic_faces,), generator=generator)
    views = params.views + params.frontal_identity
    scene = sample_scenes(rendered * views, generator, inputs.augmentation.scenes(inputs.distribution))
    if params.frontal_identity:
        scene.angles[-rendered:, :2] = 0
    draw = inputs.augmentation.draw(len(scene), generator)
    own = torch.arange(len(scene)).view(views, rendered)[:, own_part(rendered)].flatten()
    return Stage2Batch(
        photographs.to(device),
        own_part(rendered),
        synthetic[chosen[own_part(len(chosen))]].to(device),
        scene[own].to(device),
        draw[own] if draw else None,
    )


def _some_of(count, wanted, generator):
    """Draw `wanted` different numbers below `count`, or all; a permutation of millions would take 0.25 s per step."""
    if count < MANY:
        return torch.randperm(count, generator=generator)[:wanted]
    # twice as many as are wanted, without those that were drawn before
    drawn = dict.fromkeys(torch.randint(count, (2 * wanted,), generator=generator).tolist())
    return torch.tensor([*drawn][:wanted])


def stage2_losses(regressor, inputs, batch, params, stage1_params):
    """Compute the terms of Eq. 2 on one hybrid batch, unweighted, and their weighted sum `total`: dict of Tensor ().

    One render and one pass of the network serve the identity loss and the loopback loss; with `frontal_identity`
    (Fig. 3, "single view") the first has the frontal view alone and the second all others. What a regressor reads
    beside the training network (`FeatureReader`) is the photograph's in the loopback loss too. The second network's
    identity loss is taken on the last view. Every process takes the terms of the photographs alone (batch distribution,
    skin, anchor) over all of them, the others over its own equal part: the mean of the processes' losses, and of their
    gradients, is that of one process.
    """
    weights = stage1_params.shape_weight, stage1_params.texture_weight
    photographs, synthetic = batch.photographs, batch.synthetic
    predicted = regressor(photographs.features)
    faces = predicted[batch.rendered]
    alone = FeatureReader(inputs.reader.network)
    seen = alone.see_renders(inputs.face_model, faces, batch.scene, batch.draw, params.precision)
    more = photographs.features[batch.rendered, alone.feature_dimension :].repeat(len(batch.scene) // len(faces), 1)
    embeddings, features = seen.embedding, torch.cat([seen.features, more], 1)
    if params.frontal_identity:
        embeddings, features = embeddings[-len(faces) :], features[: -len(faces)]
    if params.render_transform:
        embeddings = F.normalize(embeddings + regressor.render_transform(embeddings))
    bound, taught = params.eigenvalue_bound, regressor(synthetic.features)
    spread = losses.bounded_distribution_loss(predicted, bound) if bound else losses.batch_distribution_loss(predicted)
    terms = dict(
        parameter=losses.parameter_loss(taught, synthetic.coefficients, *weights),
        identity=losses.identity_loss(embeddings, photographs.embeddings[batch.rendered]),
        batch=spread,
        loop=losses.loopback_loss(regressor(features), faces, *weights),
    )
    if params.metric_weight:
        terms["metric"] = losses.metric_loss(taught, synthetic.coefficients, inputs.metric)
    if params.prior_weight:
        terms["prior"] = losses.prior_loss(predicted)
    if params.skin_weight:
        terms["skin"] = losses.skin_loss(predicted, photographs.skin, inputs.colour)
    if params.anchor_weight:
        terms["anchor"] = losses.metric_loss(predicted, photographs, inputs.metric)
    if params.second_identity_weight:
        last = slice(-len(faces), None)
        draw = batch.draw[last] if batch.draw else None
        embeddings = inputs.reader.see_with_second(inputs.face_model, faces, batch.scene[last], draw)
        terms["second_identity"] = losses.identity_loss(embeddings, photographs.second_embeddings[batch.rendered])
    weights = {name: getattr(params, f"{name}_weight") for name in terms if name != "parameter"}
    return terms | dict(total=losses.total_loss(terms, weights))


def _shallow_network(size):
    """A network of one hidden layer, which gives zeros at first: what it is added to stays as it was."""
    last = nn.Linear(TRANSFORM_UNITS, size)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(size, TRANSFORM_UNITS), nn.ReLU(), last)


def _move_to_posterior_means(regressor, synthetic, share):
    """Move each shape that the regressor gives by `share` of the way to its posterior mean (`posterior_map`)."""
    device = regressor.feature_mean.device
    regressed, true = regressor.of_all(synthetic.features.to(device)).shape, synthetic.coefficients.shape.to(device)
    regressor.map_shapes(torch.lerp(torch.eye(true.shape[1], device=device), posterior_map(regressed, true), share))


def train_stage2(regressor, inputs, params, stage1_params, checkpoint, live=None):
    """Train on batches of photographs and synthetic faces (paper 3.3, second stage); the regressor is changed in place.

    A stopped run resumes from its checkpoint, on one process on a CPU to the same bytes. On several processes the first
    one has `live`, a `LiveRun` or None. Returns two lists of dict: `losses` of the first step and every tenth (`step`
    from 1, the terms before its update, and `pictures_per_second`, all that differs between equal runs), and `monitors`
    (`Monitor.measure`), before the first step and every so often.
    """
    params = replace(params, precision=best_precision(params.precision))
    settings = asdict(params) | inputs.settings() | dict(regressor=digest(*regressor.state_dict().values()))
    if params.render_transform:  # part of what is trained, not of what is kept
        torch.manual_seed(params.seed)
        transform = _shallow_network(inputs.reader.network.embedding_dimension)
        regressor.render_transform = transform.to(regressor.feature_mean.device)
    optimizer = make_optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    first, saved = load_run(checkpoint, regressor, optimizer, generator, settings)
    history = saved or dict(losses=[], monitors=[])
    if live:
        live.start(**history)
        if first == 0:
            history["monitors"].append(live.look(regressor, 0))
    steps = range(first, params.steps)
    name = f"stage 2 in {params.precision}"
    bar = progress(steps, name, initial=first, total=params.steps, unit="step", silent=rank() > 0)
    started, pictures = time.perf_counter(), 0
    for step in bar:
        rate = set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        batch = draw_batch(inputs, params, generator)
        terms = stage2_losses(regressor, inputs, batch, params, stage1_params)
        values = dict(zip(terms, mean_over_processes(torch.stack([*terms.values()]).detach()).tolist()))
        norm = backward(regressor, optimizer, terms["total"])
        refuse_nan(values, norm, "step", step + 1, checkpoint)
        optimizer.step()
        done, last, pictures = step + 1, step + 1 == params.steps, pictures + len(batch.scene) * world_size()
        if last and params.posterior_share:
            _move_to_posterior_means(regressor, inputs.synthetic, params.posterior_share)
        if step == 0 or done % RECORD_STEPS == 0 or last:
            speed, started, pictures = pictures / (time.perf_counter() - started), time.perf_counter(), 0
            measured = dict(learning_rate=rate, gradient_norm=norm, pictures_per_second=speed)
            history["losses"].append(dict(step=done) | values | measured)
            bar.set_postfix({name: f"{values[name]:.3g}" for name in ("identity", "batch", "loop")}, refresh=False)
            if live:
                live.record(history["losses"][-1])
        if live and (last or done % params.validation_steps == 0):
            history["monitors"].append(live.look(regressor, done))
        if rank() == 0 and (last or done % params.checkpoint_steps == 0):
            save_run(checkpoint, regressor, optimizer, generator, done, history, settings)
    if params.render_transform:
        del regressor.render_transform
    return history
