"""How alike people who are not trained on and their faces are, measured while training runs.

The evaluation network judges, as at the end (paper 4.3), so that a run in which the training network is fooled shows it
early, and so that parameters can be chosen without a look at the people of the test.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch

from lib.face_model.model import FaceModel
from lib.recognition.network import IdentityNetwork
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.crop import Crop
from lib.rendering.renderer import frontal_scene, render

LARGEST_SHARE = 0.1
SIDE_YAW = math.radians(30)
PICTURES = 8
RENDER_BATCH = 16


def watched_photographs(persons, people):
    """Choose the photographs that training does without.

    Parameters
    ----------
    persons : sequence of str
        Who is on each photograph of the training split.
    people : int
        How many people to watch: at most a tenth of all, at least one. The choice hangs on the names alone, as that of
        `lib.photos.store.split_people`.

    Returns
    -------
    trained : ndarray (N,)
        bool: the photographs of all other people. Where there is one person only, nobody is left out.
    watched : ndarray (W,)
        int64: the first photograph of each person who is watched.
    """
    names, first, person = np.unique(np.asarray(persons, dtype=str), return_index=True, return_inverse=True)
    count = min(people, max(1, int(len(names) * LARGEST_SHARE)))
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(f"watched:{names[i]}".encode()).digest())
    chosen = np.array(order[:count])
    trained = ~np.isin(person, chosen) if len(names) > 1 else np.ones(len(person), dtype=bool)
    return trained, np.sort(first[chosen])


@dataclass(frozen=True)
class Monitor:
    """People who are watched, and all that it takes to look at them.

    Attributes
    ----------
    features : Tensor (W, F)
        One photograph each, as the training network sees it.
    embeddings : Tensor (W, E)
        The same under the evaluation network, of unit length.
    photographs : ndarray (P, S, S, 3)
        uint8: the first of them, for people to look at, in `crop`.
    crop : Crop
    face_model : FaceModel
    network : IdentityNetwork
        The evaluation network with its centre.
    """

    features: torch.Tensor
    embeddings: torch.Tensor
    photographs: np.ndarray
    crop: Crop
    face_model: FaceModel
    network: IdentityNetwork

    @torch.no_grad()
    def measure(self, regressor):
        """Compare every photograph with the face that the regressor gives it.

        Returns
        -------
        dict of str to float
            `likeness_frontal` and `likeness_side`: mean cosine of the photograph with a render from the front and with
            one turned by 30 degrees (a face that pleases from one side alone falls behind in the second);
            `shape_mean_square` and `texture_mean_square` of the coefficients (1 over the model's own faces; more is
            exaggeration).
        """
        coefficients, cosines = regressor(self.features), []
        network = centred_on_renders(self.network, self.face_model)
        for rows in torch.arange(len(self.features)).split(RENDER_BATCH):
            scene = frontal_scene(2 * len(rows)).to(self.features.device)
            scene.angles[len(rows) :, 0] = SIDE_YAW
            images = render(self.face_model, coefficients[rows], scene, network.crop)
            views = network(images).embedding.unflatten(0, (2, len(rows)))
            cosines.append((views * self.embeddings[rows]).sum(2))
        frontal, side = torch.cat(cosines, 1).mean(1).tolist()
        return dict(
            likeness_frontal=frontal,
            likeness_side=side,
            shape_mean_square=coefficients.shape.square().mean().item(),
            texture_mean_square=coefficients.texture.square().mean().item(),
        )

    @torch.no_grad()
    def faces(self, regressor):
        """Draw the faces of `photographs` from the front: ndarray (P, S, S, 3), uint8."""
        count = len(self.photographs)
        scene = frontal_scene(count).to(self.features.device)
        images = render(self.face_model, regressor(self.features[:count]), scene, self.crop)
        return (images * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
