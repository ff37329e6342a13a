"""Faces that are read again."""

import numpy as np
import pytest
import torch
from small_world import FEATURES, SHAPE, TEXTURE, SmallNetwork, small_face_model, small_protocol

from lib.evaluation.protocol import loopback_table
from lib.evaluation.setup import EvaluationSetup
from lib.face_model.model import Coefficients
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.scenes import SceneDistribution
from lib.training.regressor import Regressor

PROTOCOL = small_protocol(bootstrap_samples=60, photographs_per_person=3, geometry_people=4)
PERSONS = np.repeat(np.array(list("abcdefghijklmnopqrst"), object), 2)


class Constant(Regressor):
    """Reads the same face in every picture."""

    def forward(self, features):
        return Coefficients(torch.full((len(features), SHAPE), 0.5), torch.zeros(len(features), TEXTURE))


def table(regressor, faces, folder):
    model, network = small_face_model(folder), SmallNetwork()
    photographed = Photographs(torch.zeros(40, FEATURES), np.zeros((40, 1)), PERSONS, np.full(40, ""), np.arange(40))
    shared = photographed, photographed, {}, model, network, FeatureReader(network), SceneDistribution(), PROTOCOL, None
    return loopback_table(EvaluationSetup(*shared), regressor, faces)["all"]


def test_the_difference_is_that_of_the_coefficients(tmp_path):
    faces = Coefficients(torch.zeros(40, SHAPE), torch.zeros(40, TEXTURE))
    faces.shape[:20] = -0.5  # half of the people are read 1 beside what they are, the others 0.5
    columns = table(Constant(FEATURES, SHAPE, TEXTURE), faces, tmp_path)
    assert columns["shape"]["value"] == pytest.approx((1 + 0.25) / 2) and columns["shape"]["n"] == 40
    assert columns["shape"]["low"] < 0.6 and columns["shape"]["high"] > 0.65
    assert columns["texture"]["value"] == columns["texture"]["high"] == 0


def test_what_the_pictures_show_has_a_part_in_it(tmp_path, generator):
    torch.manual_seed(0)
    regressor = Regressor(FEATURES, SHAPE, TEXTURE)
    regressor.standardise(torch.randn(50, FEATURES, generator=generator))
    faces = Coefficients(torch.randn(40, SHAPE, generator=generator), torch.randn(40, TEXTURE, generator=generator))
    once, again = (table(regressor, faces, tmp_path) for _ in range(2))
    assert once == again
    longer = table(regressor, Coefficients(3 * faces.shape, faces.texture), tmp_path)
    assert longer["shape"]["value"] > once["shape"]["value"] and longer["texture"] != once["texture"]
