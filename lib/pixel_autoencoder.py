"""A decoder trained by pixels: the photometric autoencoder of Tewari et al. (MoFA, 2017), [27] in the paper.

It begins where this study's stage 2 begins (stage 1's decoder, the identity network's features) and ends in the same
renderer and face model; what differs is the loss. To explain a photograph's pixels it needs pose, light and expression
too, which stage 2 never asks for. Those are what a recognition network is trained to forget, so that their part of the
decoder also reads the photograph itself, shrunk to a thumbnail: MoFA's encoder sees pixels as well.
"""

import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lib.alignment import Crop
from lib.checkpoint import digest, load_run, save_run
from lib.optimisation import backward, make_optimizer, refuse_nan, set_learning_rate
from lib.photometric import VIEW_DIMENSION, Energy, Explanation, pixel_energy
from lib.progress import progress
from lib.synthetic_faces import digest_face_model

THUMBNAIL = 16
PICTURE_SIZE = 100
"""Pixels a side that the loss compares: two thirds of the crop, since vertices and not pixels cost the time."""
HIDDEN_UNITS = 256
RECORD_STEPS = 10


class PixelAutoencoder(nn.Module):
    """Features and a thumbnail in, an explanation of the photograph out.

    Parameters
    ----------
    regressor : lib.regressor.Regressor
        Gives shape and texture from the features, as everywhere in this study; trained on.
    shape_dimension, texture_dimension, expression_dimension : int
        Components of the face model that explains: the leading ones of the regressor's.
    """

    def __init__(self, regressor, shape_dimension, texture_dimension, expression_dimension):
        super().__init__()
        self.regressor = regressor
        self.shape_dimension, self.texture_dimension = shape_dimension, texture_dimension
        self.expression_dimension = expression_dimension
        inputs = len(regressor.feature_mean) + 3 * THUMBNAIL**2
        self.head = nn.Sequential(
            nn.Linear(inputs, HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, expression_dimension + VIEW_DIMENSION)
        )
        # components that the face model here does not have stay zero, and the regressor's face is the whole face
        with torch.no_grad():
            last, shape_end = regressor.layers[-1], regressor.shape_dimension
            for values in (last.weight, last.bias):
                values[shape_dimension:shape_end] = 0
                values[shape_end + texture_dimension :] = 0
        # no expression, the neutral studio: where every photograph begins
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, features, photographs):
        """Explain photographs.

        Parameters
        ----------
        features : Tensor (B, F)
            Of the training network.
        photographs : Tensor (B, 3, H, W)
            The crops, sRGB in [0, 1].

        Returns
        -------
        Explanation
        """
        faces = self.regressor(features)
        standard = (features - self.regressor.feature_mean) / self.regressor.feature_deviation
        thumbnail = F.interpolate(photographs, THUMBNAIL, mode="bilinear", antialias=True) - 0.5
        values = self.head(torch.cat([standard, 2 * thumbnail.flatten(1)], 1))
        return Explanation(
            faces.shape[:, : self.shape_dimension],
            faces.texture[:, : self.texture_dimension],
            values[:, : self.expression_dimension],
            values[:, self.expression_dimension :],
        )


def train_pixel_autoencoder(autoencoder, face_model, crops, crop, params, checkpoint):
    """Train by the photometric energy alone.

    Parameters
    ----------
    autoencoder : PixelAutoencoder
        Changed in place.
    face_model : FaceModel
        With the components that the autoencoder gives.
    crops : lib.photometric.Crops
        All training photographs.
    crop : lib.alignment.Crop
        Of the crops.
    params : lib.params.PixelAutoencoderParams
    checkpoint : Path
        Written every `checkpoint_steps`; a run that was stopped goes on from there.

    Returns
    -------
    list of dict
        Every tenth step: `step`, `photometric`, `landmarks`, `prior`, their weighted sum `total`, `learning_rate` and
        `seconds`.
    """
    optimizer, generator = make_optimizer(autoencoder, params), torch.Generator().manual_seed(params.seed)
    inputs = digest(crops.features, crops.pictures, *autoencoder.state_dict().values())
    settings = asdict(params) | dict(inputs=inputs, face_model=digest_face_model(face_model))
    first, history = 0, []
    if Path(checkpoint).is_file():
        first, history = load_run(checkpoint, autoencoder, optimizer, generator, settings)
    energy, small = Energy(params.landmark_weight, params.prior_weight), Crop(PICTURE_SIZE, crop.points)
    bar = progress(range(first, params.steps), "pixel autoencoder", initial=first, total=params.steps, unit="step")
    started = time.perf_counter()
    for step in bar:
        rate = set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        batch = crops[torch.randperm(len(crops), generator=generator)[: params.photographs]]
        images = batch.images()
        explanation = autoencoder(batch.features, images)
        smaller = F.interpolate(images, PICTURE_SIZE, mode="bilinear", antialias=True)
        terms = pixel_energy(face_model, explanation, smaller, batch.landmarks, small, energy)
        terms = {name: values.mean() for name, values in terms.items()}
        norm = backward(autoencoder, optimizer, terms["total"])
        values = {name: value.item() for name, value in terms.items()}
        refuse_nan(values, norm, "step", step + 1, checkpoint)
        optimizer.step()
        if step % RECORD_STEPS == 0 or step + 1 == params.steps:
            elapsed, started = time.perf_counter() - started, time.perf_counter()
            history.append(dict(step=step + 1) | values | dict(learning_rate=rate, seconds=elapsed))
            bar.set_postfix(photometric=f"{values['photometric']:.4f}")
        if step + 1 == params.steps or (step + 1) % params.checkpoint_steps == 0:
            save_run(checkpoint, autoencoder, optimizer, generator, step + 1, history, settings)
    return history
