"""The decoder: identity features in, coefficients of the morphable model out (paper 3.2)."""

import torch
from torch import nn

from lib.core.errors import StudyError
from lib.core.tensors import ROWS_AT_ONCE, load_tensors, save_tensors
from lib.face_model.model import Coefficients

HIDDEN_UNITS = 1024


class Regressor(nn.Module):
    """Two fully connected layers of 1024 units with ReLU and a linear layer (paper 3.2).

    Features are standardised first with the mean and deviation that they have over synthetic faces (`standardise`), so
    that one learning rate suits every identity network.

    F `feature_dimension` features become `shape_dimension` and `texture_dimension` coefficients; 199 each in the paper.
    """

    def __init__(self, feature_dimension, shape_dimension=199, texture_dimension=199):
        super().__init__()
        self.shape_dimension = shape_dimension
        self.layers = nn.Sequential(
            nn.Linear(feature_dimension, HIDDEN_UNITS),
            nn.ReLU(),
            nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS),
            nn.ReLU(),
            nn.Linear(HIDDEN_UNITS, shape_dimension + texture_dimension),
        )
        self.register_buffer("feature_mean", torch.zeros(feature_dimension))
        self.register_buffer("feature_deviation", torch.ones(feature_dimension))

    @torch.no_grad()
    def standardise(self, features):
        """Take the features' mean and deviation from a sample (M, F) of them, M >= 2; the same bits on any device."""
        features = features.cpu()
        self.feature_mean.copy_(features.mean(0))
        # a unit that never fires in the sample must not be blown up where it does
        deviation = features.std(0)
        self.feature_deviation.copy_(deviation.clamp(min=0.1 * deviation.mean().item()))

    @property
    def feature_dimension(self):
        """How many features it reads."""
        return len(self.feature_mean)

    def forward(self, features):
        """Regress coefficients, standard normal over a population of faces, from features (B, F) (paper 3.1)."""
        values = self.layers((features - self.feature_mean) / self.feature_deviation)
        return Coefficients(values[:, : self.shape_dimension], values[:, self.shape_dimension :])

    @torch.no_grad()
    def of_all(self, features):
        """Regress any number of features, a tensor or `MappedRows`, a part at a time, without gradients."""
        parts = [self(features[row : row + ROWS_AT_ONCE]).cat() for row in range(0, len(features), ROWS_AT_ONCE)]
        return Coefficients.split(torch.cat(parts), self.shape_dimension)

    def save(self, path):
        """Write weights and sizes to a safetensors file, atomically."""
        sizes = dict(
            feature_dimension=self.feature_dimension,
            shape_dimension=self.shape_dimension,
            texture_dimension=self.layers[-1].out_features - self.shape_dimension,
        )
        save_tensors(path, self.state_dict(), sizes)

    @classmethod
    def load(cls, path):
        """Read a regressor written by `save`; StudyError: the file is missing, damaged or no regressor."""
        tensors, sizes = load_tensors(path)
        try:
            regressor = cls(**sizes)
            regressor.load_state_dict(tensors)
        except (TypeError, RuntimeError) as error:
            raise StudyError(f"{path} holds no regressor: {error}") from None
        return regressor.eval()
