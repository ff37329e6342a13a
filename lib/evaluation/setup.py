"""What every method is measured with: test photographs, networks, truth and protocol (paper section 4)."""

from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from lib.core import paths
from lib.core.params import EvaluateParams
from lib.core.processes import on_best_device
from lib.evaluation.distances import averaged_features
from lib.evaluation.protocol import evaluate_faces
from lib.face_model.model import FaceModel
from lib.photos.people import GroundTruth, groups_of, load_truth, read_people
from lib.photos.store import Photographs, load_feature_store, load_photographs
from lib.recognition.network import IdentityNetwork, load_centred
from lib.recognition.reader import FeatureReader, load_reader
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.scenes import SceneDistribution


@dataclass(frozen=True)
class EvaluationSetup:
    """Everything that regressors and other methods have in common when they are measured."""

    everything: Photographs  # all photographs of the test people
    photographed: Photographs  # those that are evaluated: at most so many per person
    people: dict  # age, gender, ethnicity by person (`lib.photos.people.read_people`)
    face_model: FaceModel
    network: IdentityNetwork  # the evaluation network, centred on the training photographs
    reader: FeatureReader  # what regressors read; faces are shown in the crop of its network
    distribution: SceneDistribution  # of the renders in a random scene
    protocol: EvaluateParams
    truth: GroundTruth | None  # None: no errors in mm
    compared: Photographs | None = None  # whose pairs similarities are compared with; None: those of `photographed`
    frontal_only: bool = False  # no views but the frontal one, and no pictures for people
    further_judges: dict = field(default_factory=dict)  # networks that see it too, by their part of the metrics

    def averaged(self, regressor):
        """Regress one shape per test person and condition, from the mean of all features: `AveragedShapes`."""
        seen = self.everything
        return averaged_features(regressor, seen.features, seen.persons, seen.conditions)

    def render_judges(self):
        """Return the networks that judge renders, by their part of the metrics; the first, `network`, has none: ""."""
        face_model = on_best_device(self.face_model)
        judges = {"": self.network, **self.further_judges}.items()
        return {name: centred_on_renders(judge, face_model) for name, judge in judges}

    def groups(self):
        """Return the groups of people that are large enough (`lib.photos.people.groups_of`)."""
        return groups_of(self.people, self.photographed.persons, self.protocol.smallest_group)


def load_evaluation_setup(params, store, feature_dimension=None):
    """Read the setup of regressors of so many features (`load_reader`) from the files of the study."""
    reader, protocol = load_reader(params.networks, feature_dimension), params.evaluate
    network = load_centred(params.networks.evaluation, store)
    further_judges = {key: load_centred(name, store) for key, name in params.networks.further_judges.items()}
    everything = load_photographs(store, store.rows("test"), reader, network, further_judges=further_judges)
    return EvaluationSetup(
        everything,
        everything.at_most(protocol.photographs_per_person),
        read_people(paths.PHOTOS),
        FaceModel.load(params.face_model.path),
        network,
        reader,
        SceneDistribution(**asdict(params.scenes)),
        protocol,
        load_truth(paths.PHOTOS / paths.TRUTH, protocol.geometry_people),
        further_judges=further_judges,
    )


@torch.no_grad()
def evaluate_sources(setup, regressor):
    """Evaluate a trained regressor on each of `evaluate.test_sources`, the people of other sources (paper 4).

    Similarities are compared with the pairs of the held-out people, as the paper compares all sources with LFW's.
    Returns metrics, and cosines (N,) of N photographs and their renders, by source.
    """
    metrics, similarities = {}, {}
    for name, source in setup.protocol.test_sources.items():
        folder = paths.TEST_PHOTOS / name
        store = load_feature_store(folder)
        everyone = load_photographs(store, np.arange(len(store.crops)), setup.reader, setup.network)
        photographed = everyone.at_most(source.photographs) if source.photographs else everyone
        truth = load_truth(folder / paths.TRUTH, None)
        photographs = dict(everything=everyone, photographed=photographed, compared=setup.photographed)
        other = replace(setup, **photographs, people={}, truth=truth, frontal_only=True, further_judges={})
        faces = regressor(photographed.features)
        metrics[name], seen = evaluate_faces(other, faces, averaged=other.averaged(regressor) if truth else None)
        similarities[name] = (photographed.embeddings * seen.frontal).sum(1)
    return metrics, similarities
