"""The decoder: identity features in, coefficients of the morphable model out (paper 3.2)."""

import torch
import torch.nn.functional as F
from torch import nn

from lib.core.errors import StudyError
from lib.core.tensors import ROWS_AT_ONCE, load_tensors, save_tensors
from lib.face_model.model import Coefficients

HIDDEN_UNITS, HIDDEN_LAYERS = 1024, 2


class Regressor(nn.Module):
    """Two fully connected layers of 1024 units with ReLU and a linear layer (paper 3.2).

    F `feature_dimension` features, standardised, become `shape_dimension` and `texture_dimension` coefficients; 199
    each in the paper. It compares its own with `hidden_layers` more than two, and with the network's embedding as the
    input: the fixed `head` of `embedding_dimension` units then turns features into it (0: the features are read as they
    are).
    """

    def __init__(
        self,
        feature_dimension,
        shape_dimension=199,
        texture_dimension=199,
        hidden_layers=HIDDEN_LAYERS,
        embedding_dimension=0,
    ):
        super().__init__()
        self.feature_dimension, self.shape_dimension = feature_dimension, shape_dimension
        self.head = nn.Linear(feature_dimension, embedding_dimension) if embedding_dimension else None
        if self.head:
            self.head.requires_grad_(False)
        sizes = [embedding_dimension or feature_dimension] + hidden_layers * [HIDDEN_UNITS]
        hidden = [layer for pair in zip(sizes, sizes[1:]) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(HIDDEN_UNITS, shape_dimension + texture_dimension))
        self.register_buffer("feature_mean", torch.zeros(sizes[0]))
        self.register_buffer("feature_deviation", torch.ones(sizes[0]))

    def _input(self, features):
        return F.normalize(self.head(features)) if self.head else features

    @torch.no_grad()
    def standardise(self, features):
        """Take the features' mean and deviation from a sample (M, F) of them, M >= 2; the same bits on any device."""
        features = self._input(features).cpu()
        self.feature_mean.copy_(features.mean(0))
        # a unit that never fires in the sample must not be blown up where it does
        deviation = features.std(0)
        self.feature_deviation.copy_(deviation.clamp(min=0.1 * deviation.mean().item()))

    def forward(self, features):
        """Regress coefficients, standard normal over a population of faces, from features (B, F) (paper 3.1)."""
        values = self.layers((self._input(features) - self.feature_mean) / self.feature_deviation)
        return Coefficients(values[:, : self.shape_dimension], values[:, self.shape_dimension :])

    @torch.no_grad()
    def of_all(self, features):
        """Regress any number of features, a tensor or `MappedRows`, a part at a time, without gradients."""
        parts = [self(features[row : row + ROWS_AT_ONCE]).cat() for row in range(0, len(features), ROWS_AT_ONCE)]
        return Coefficients.split(torch.cat(parts), self.shape_dimension)

    @torch.no_grad()
    def map_shapes(self, matrix, shift=0.0):
        """Let each shape c be `matrix` c + `shift` from now on, by the last layer; `matrix` (S, S), `shift` (S,)."""
        layer, size = self.layers[-1], self.shape_dimension
        layer.weight[:size] = matrix @ layer.weight[:size]
        layer.bias[:size] = matrix @ layer.bias[:size] + shift

    def save(self, path):
        """Write weights and sizes to a safetensors file, atomically."""
        sizes = dict(
            feature_dimension=self.feature_dimension,
            shape_dimension=self.shape_dimension,
            texture_dimension=self.layers[-1].out_features - self.shape_dimension,
            hidden_layers=len(self.layers) // 2,
            embedding_dimension=self.head.out_features if self.head else 0,
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
