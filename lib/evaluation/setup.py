"""The bench: test photographs, networks, truth and protocol that everything is measured with (paper section 4)."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

from lib.evaluation.distances import averaged_features, load_truth
from lib.evaluation.protocol import evaluate_faces
from lib.face_model.model import Coefficients, FaceModel
from lib.photos.people import groups_of, read_people
from lib.photos.photographed import load_photographed
from lib.recognition.network import load_centred, load_network
from lib.rendering.scenes import SceneDistribution


@dataclass(frozen=True)
class Bench:
    """Everything that regressors and other methods have in common when they are measured.

    Attributes
    ----------
    everything : lib.photos.photographed.Photographed
        All photographs of the test people.
    photographed : lib.photos.photographed.Photographed
        Those that are evaluated: at most so many a person.
    people : dict of str to dict
        Age, gender, ethnicity of the people (`lib.photos.people.read_people`).
    face_model : FaceModel
    network : IdentityNetwork
        That judges, centred on the training photographs.
    trained_with : IdentityNetwork
        Whose features regressors read, and in whose crop faces are shown.
    distribution, protocol, truth
        As `lib.evaluation.protocol.evaluate_faces`.
    """

    everything: object
    photographed: object
    people: dict
    face_model: torch.nn.Module
    network: torch.nn.Module
    trained_with: torch.nn.Module
    distribution: object
    protocol: object
    truth: object

    def evaluate(self, coefficients, which=None, averaged=None):
        """Evaluate faces of the model.

        Parameters
        ----------
        coefficients : Coefficients
            One face a photograph; of a model with fewer components, the rest is zero.
        which : ndarray (M,) or None
            Numbers of the photographs; None: all.
        averaged : lib.evaluation.distances.AveragedShapes or None
            As `evaluate_faces`.

        Returns
        -------
        metrics : dict
        reconstructed : Reconstructed
        """
        photographed = self.photographed if which is None else self.photographed.take(which)
        return evaluate_faces(
            padded(coefficients, self.face_model),
            photographed,
            self.face_model,
            self.network,
            self.trained_with.crop,
            self.distribution,
            self.protocol,
            self.truth,
            averaged,
            self.groups(photographed),
        )

    def averaged(self, regressor):
        """Regress one shape a test person and condition, from the mean of all features: `AveragedShapes`."""
        return averaged_features(
            regressor, self.everything.features, self.everything.persons, self.everything.conditions
        )

    def groups(self, photographed):
        """Return the groups of people that are large enough among some photographs (`lib.photos.people.groups_of`)."""
        return groups_of(self.people, photographed.persons, self.protocol.smallest_group)

    def counts(self):
        """Return how much is measured: numbers of photographs, people, and people whose true face is known."""
        known = len(self.truth.persons) if self.truth else 0
        people = len(set(self.photographed.persons))
        return {"photographs": len(self.photographed), "people": people, "people whose true face is known": known}


def load_bench(params, store):
    """Set up the bench from the files of the study.

    Parameters
    ----------
    params : lib.core.params.Params
    store : lib.photos.store.FeatureStore

    Returns
    -------
    Bench
    """
    training, judge, protocol = params.networks.training, params.networks.evaluation, params.evaluate
    network = load_centred(judge, store)
    everything = load_photographed(store, training, network)
    return Bench(
        everything,
        everything.at_most(protocol.photographs_a_person),
        read_people("data/photos"),
        FaceModel.load(params.face_model.path),
        network,
        load_network(training, "data/networks"),
        SceneDistribution.from_degrees(**asdict(params.scenes)),
        protocol,
        load_truth("data/photos/truth.h5", protocol.geometry_people),
    )


def padded(coefficients, face_model):
    """Coefficients of the leading components alone as those of the whole model: the others are zero."""
    missing = face_model.shape_dimension - coefficients.shape.shape[1]
    shape = F.pad(coefficients.shape, (0, missing))
    return Coefficients(
        shape, F.pad(coefficients.texture, (0, face_model.texture_dimension - coefficients.texture.shape[1]))
    )
