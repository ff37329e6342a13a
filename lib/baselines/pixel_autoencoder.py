"""A decoder trained by pixels: the photometric autoencoder of Tewari et al. (MoFA, 2017), [27] in the paper.

It starts like stage 2; only the loss differs. A small convolutional network reads pose, light and expression from the
photograph's pixels, as MoFA's encoder does; synthetic faces teach it first.
"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import nn

from lib.baselines.photometric import VIEW_DIMENSION, Explanation, draw, pixel_energy
from lib.core.processes import best_device, on_best_device
from lib.core.progress import progress
from lib.core.tensors import digest
from lib.face_model.model import digest_face_model
from lib.rendering.crop import Crop
from lib.rendering.scenes import background_pictures, sample_scenes
from lib.training.loop import backward, load_run, make_optimizer, refuse_nan, save_run, set_learning_rate

THUMBNAIL = 40  # pixels per side that pose, light and expression are read from
PICTURE_SIZE = 100  # pixels per side that the loss compares: two thirds of the crop
HIDDEN_UNITS = 256
RENDER_BATCH = 50
VIEW_EPOCHS, VIEW_BATCH, VIEW_RATE = 20, 64, 1e-3
RECORD_STEPS = 10


class PixelAutoencoder(nn.Module):
    """Features and pixels in, an explanation of the photograph by the leading components of the model out."""

    def __init__(self, regressor, shape_dimension, texture_dimension, expression_dimension):
        super().__init__()
        self.regressor = regressor
        self.shape_dimension, self.texture_dimension = shape_dimension, texture_dimension
        self.expression_dimension = expression_dimension
        # 40 pixels become 20, 10, 5
        self.eye = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(64 * (THUMBNAIL // 8) ** 2, HIDDEN_UNITS),
            nn.ReLU(),
            nn.Linear(HIDDEN_UNITS, expression_dimension + VIEW_DIMENSION),
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
        """Explain photographs: features (B, F) of the training network, crops (B, 3, H, W) in sRGB."""
        faces = self.regressor(features)
        known = faces.shape[:, : self.shape_dimension], faces.texture[:, : self.texture_dimension]
        return Explanation(*known, *self.view_of(photographs).split([self.expression_dimension, VIEW_DIMENSION], 1))

    def view_of(self, photographs):
        """Expression and view, side by side (B, E + VIEW_DIMENSION), of photographs (B, 3, H, W)."""
        return self.head(self.eye(4 * (F.interpolate(photographs, THUMBNAIL, mode="bilinear", antialias=True) - 0.5)))


def teach_views(autoencoder, face_model, crop, count, seed):
    """Teach pose, light and expression on `count` synthetic faces, in place; return the last epoch's squared error."""
    generator, device, face_model = torch.Generator().manual_seed(seed), best_device(), on_best_device(face_model)
    autoencoder.to(device)
    small, pictures, truth = Crop(PICTURE_SIZE, crop.points), [], []
    sizes = (face_model.shape_dimension, face_model.texture_dimension, face_model.expression_dimension, VIEW_DIMENSION)
    for rows in progress(torch.arange(count).split(RENDER_BATCH), "synthetic views", unit="batch"):
        explanation = Explanation(*(torch.randn(len(rows), size, generator=generator) for size in sizes))
        behind = background_pictures(sample_scenes(len(rows), generator).background, PICTURE_SIZE)
        with torch.no_grad():
            drawn, _ = draw(face_model, explanation, small)
        drawn = torch.where(drawn[:, :1] >= 0, drawn, behind.to(device))
        pictures.append(F.interpolate(drawn, THUMBNAIL, mode="bilinear", antialias=True))
        truth.append(torch.cat([explanation.expression, explanation.view], 1))
    pictures, truth = torch.cat(pictures), torch.cat(truth).to(device)
    optimizer = torch.optim.Adam([*autoencoder.eye.parameters(), *autoencoder.head.parameters()], VIEW_RATE)
    for epoch in range(VIEW_EPOCHS):
        set_learning_rate(optimizer, VIEW_RATE, epoch, VIEW_EPOCHS)
        losses = []
        for rows in torch.randperm(count, generator=generator).split(VIEW_BATCH):
            loss = F.mse_loss(autoencoder.view_of(pictures[rows]), truth[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    autoencoder.cpu()
    return sum(losses) / len(losses)


def train_pixel_autoencoder(autoencoder, face_model, crops, crop, params, checkpoint):
    """Train by the photometric energy alone, in place, from a checkpoint on; return the terms of every tenth step."""
    device, face_model = best_device(), on_best_device(face_model)
    optimizer, generator = make_optimizer(autoencoder.to(device), params), torch.Generator().manual_seed(params.seed)
    inputs = digest(crops.features, crops.pictures, *autoencoder.state_dict().values())
    settings = asdict(params) | dict(inputs=inputs, face_model=digest_face_model(face_model))
    first, history = load_run(checkpoint, autoencoder, optimizer, generator, settings)
    history = history or []
    small = Crop(PICTURE_SIZE, crop.points)
    bar = progress(range(first, params.steps), "pixel autoencoder", initial=first, total=params.steps, unit="step")
    for step in bar:
        set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        batch = crops[torch.randperm(len(crops), generator=generator)[: params.photographs]].to(device)
        images = batch.images()
        explanation = autoencoder(batch.features, images)
        smaller = F.interpolate(images, PICTURE_SIZE, mode="bilinear", antialias=True)
        terms = pixel_energy(face_model, explanation, smaller, batch.landmarks, small, params)
        terms = {name: values.mean() for name, values in terms.items()}
        norm = backward(autoencoder, optimizer, terms["total"])
        values = {name: value.item() for name, value in terms.items()}
        refuse_nan(values, norm, "step", step + 1, checkpoint)
        optimizer.step()
        if step % RECORD_STEPS == 0 or step + 1 == params.steps:
            history.append(dict(step=step + 1) | values)
            bar.set_postfix(photometric=f"{values['photometric']:.4f}")
        if step + 1 == params.steps or (step + 1) % params.checkpoint_steps == 0:
            save_run(checkpoint, autoencoder, optimizer, generator, step + 1, history, settings)
    autoencoder.cpu()
    return history
