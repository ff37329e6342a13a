"""Whether a regressor reads its own faces as it made them: what the loopback loss asks for (paper 3.3.4)."""

import torch

from lib.core.progress import progress
from lib.evaluation.bootstrap import resample_people
from lib.evaluation.distances import EVERY_CONDITION
from lib.face_model.model import Coefficients
from lib.rendering.renderer import render
from lib.rendering.scenes import sample_scenes

RENDER_BATCH = 25


@torch.no_grad()
def loopback_table(regressor, coefficients, persons, face_model, network, distribution, protocol):
    """Draw each face in a random scene, read the picture, and compare the coefficients with those of the face.

    Parameters
    ----------
    regressor : Regressor
    coefficients : Coefficients
        N faces that it made of photographs.
    persons : ndarray (N,)
        Whose photographs they were.
    face_model : FaceModel
    network : IdentityNetwork
        The one whose features the regressor reads; its centre has no part in them.
    distribution : SceneDistribution
    protocol : lib.core.params.EvaluateParams
        Its `seed`, of the scenes and the intervals, and its `bootstrap_samples` are used.

    Returns
    -------
    dict
        Of one row, `lib.evaluation.distances.EVERY_CONDITION`, with the columns `shape` and `texture`: the mean squared
        difference of a coefficient, in variances of the model. 0: each face is read as itself; 2: as anybody's.
    """
    scenes = sample_scenes(len(coefficients), torch.Generator().manual_seed(protocol.seed), distribution)
    reread = []
    for rows in progress(torch.arange(len(coefficients)).split(RENDER_BATCH), "faces read again", unit="batch"):
        images = render(face_model, coefficients[rows], scenes[rows], network.crop)
        reread.append(regressor(network(images).features).cat())
    squares = (torch.cat(reread) - coefficients.cat()).square()
    differences = Coefficients.split(squares, face_model.shape_dimension)
    resampling = resample_people(persons, protocol.bootstrap_samples, protocol.seed)
    columns = {
        name: resampling.mean(getattr(differences, name).mean(1).numpy(), persons) for name in ("shape", "texture")
    }
    return {EVERY_CONDITION: columns}
