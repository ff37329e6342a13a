"""Training photographs as pixels: for the methods that compare pictures and not features."""

from dataclasses import dataclass

import numpy as np
import torch

from lib.core.pictures import to_tensor
from lib.photos.store import SKIPPED_ROW
from lib.rendering.crop import POINT_NAMES, fit_similarity


@dataclass(frozen=True)
class Crops:
    """Photographs in the crop of the training network.

    Attributes
    ----------
    features : Tensor (N, F)
        Of the training network.
    pictures : Tensor (N, H, W, 3)
        uint8.
    landmarks : Tensor (N, 4, 2)
        `lib.rendering.crop.POINT_NAMES` as they were detected, in units of the crop.
    """

    features: torch.Tensor
    pictures: torch.Tensor
    landmarks: torch.Tensor

    def __len__(self):
        return len(self.features)

    def __getitem__(self, rows):
        return Crops(self.features[rows], self.pictures[rows], self.landmarks[rows])

    def images(self):
        """The crops as the renderer draws: float32 (N, 3, H, W), sRGB in [0, 1]."""
        return to_tensor(self.pictures)


def load_crops(store, rows, network, crop):
    """Read photographs from the feature store.

    Parameters
    ----------
    store : lib.photos.store.FeatureStore
    rows : ndarray (N,)
    network : str
        The training network, whose crops the store keeps.
    crop : lib.rendering.crop.Crop
        Its framing.

    Returns
    -------
    Crops
    """
    index = store.index[store.index["row"] != SKIPPED_ROW].sort_values("row")
    columns = [f"{name}_{axis}" for name in POINT_NAMES for axis in "xy"]
    points = torch.from_numpy(index[columns].to_numpy(np.float32)[rows]).unflatten(1, (-1, 2))
    return Crops(
        torch.from_numpy(store.features[network][rows]),
        torch.from_numpy(store.crops[rows]),
        landmarks_in_crop(points, crop),
    )


def landmarks_in_crop(points, crop):
    """Map the landmarks of photographs to where their crops show them.

    Parameters
    ----------
    points : Tensor (B, 4, 2)
        `lib.rendering.crop.POINT_NAMES`, pixels of the photograph (columns of the feature store's index).
    crop : lib.rendering.crop.Crop

    Returns
    -------
    Tensor (B, 4, 2)
        In units of the crop.
    """
    a, b, shift_x, shift_y = (value[:, None] for value in fit_similarity(points, crop.canonical_points()))
    x, y = points.unbind(2)
    return torch.stack([a * x - b * y + shift_x, b * x + a * y + shift_y], 2)
