"""Correct the means of `lib/open_model/shape_statistics.npz` by photographs: heights of lips, mouth, nose and brows.

Scans do not tell where lips turn red and where brows grow, nor does the survey. Photographs do: people of the model,
of the same sex, age and ancestry as those photographed, are painted and rendered, and the same landmarks are found in
both. Means change as little as possible (Mahalanobis distance) so that these landmarks agree; the survey's 19
measurements and the height of the nose's tip above the septum's end stay.

Source: L. DeBruine and B. Jones, "Face Research Lab London Set" (2017, figshare 5047666, CC BY 4.0), as for
`derivations/lip_survey.py`. In ten minutes, after `derivations.shape_statistics`. It paints faces, so after an edit of
the mesh `derivations.baked_maps` comes before it, as well as behind it:

    python -m derivations.photographed_proportions PHOTOGRAPHS
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from derivations.lip_survey import GROUPS, read_people
from derivations.shape_statistics import Generator, slider_slopes
from derivations.survey import PRONASALE, SUBNASALE
from lib.core.pictures import to_uint8
from lib.core.progress import progress
from lib.face_model.model import IBUG_LANDMARKS
from lib.fitting.face_mesh import load_face_mesh
from lib.fitting.photograph import LANDMARK_CROP, find_landmarks
from lib.fitting.reconstructor import PIXELS
from lib.open_model.generator import FaceGenerator, generator_parts
from lib.open_model.paint import paint_person
from lib.open_model.shape import ANCESTRIES, LARGEST_DEVIATION, STATISTICS, Traits
from lib.photos.align import cut_faces
from lib.photos.detect import FaceDetector
from lib.photos.read import read_picture
from lib.rendering.renderer import draw_mesh, frontal_scene

PROPORTIONS = ("upper lip", "lower lip", "mouth", "nose", "brow", "open eye")
"""Heights of the lips' red, of mouth, end of the nose and brows beside the corners of the eyes, and of open eyes, in
units of the distance between their outer corners."""
FACE_MESH = (33, 263, 133, 362, 0, 13, 14, 17, 2, 52, 282, 160, 158, 385, 387, 153, 144, 373, 380)
IBUG = (37, 46, 40, 43, 52, 63, 67, 58, 34, 20, 25, 38, 39, 44, 45, 41, 42, 47, 48)
"""Corners of the eyes, edges of the lips from above, end of the nose, brows, upper and lower lids."""

ROUNDS, DRAWN = 7, 6
"""How often means are corrected; people drawn for each one photographed."""

OLDEST = 40
"""Years: lips become thin with age, and photographs of older people are few."""

TWO_COLOURED, LIPS = "black", 2
"""Whose lips are of two colours, so that their edge is not seen reliably; and how many proportions are theirs."""

SURVEYED, SHOWN = 0.02, 0.1
"""Error of the survey's means, which stay, and of those in photographs: shares of people's variance."""


def proportions(points, downwards=1):
    """`PROPORTIONS` (n, 6) of points (n, 19, 2 or 3) in the order of `IBUG`."""
    down = downwards * (points[..., 1] - points[:, :4, 1].mean(1, keepdims=True))
    upper, above, below, lower, nose, *others = down[:, 4:].T
    brows, upper_lids, lower_lids = (np.mean(each, 0) for each in (others[:2], others[2:6], others[6:]))
    heights = above - upper, lower - below, 0.5 * (above + below), nose, -brows, lower_lids - upper_lids
    return np.stack(heights, 1) / np.linalg.norm(points[:, 1] - points[:, 0], axis=-1)[:, None]


class Sight:
    """Finds the proportions that pictures show."""

    def __init__(self):
        self.detector, self.network = FaceDetector(), load_face_mesh()

    def see(self, pixels):
        """`PROPORTIONS` (6,) of the face in a picture (H, W, 3), uint8."""
        (face,) = self.detector.detect([pixels])
        landmarks = find_landmarks(self.network, cut_faces([(pixels, face.points)], LANDMARK_CROP))
        return proportions(landmarks[:, list(FACE_MESH)])[0]


def read_traits(people):
    """Who the people photographed are, by the table of `lip_survey.read_people`: list of Traits."""
    return [
        Traits(
            float(one.face_gender == "male"),
            (float(one.face_age) - 25) / 65,
            tuple(float(GROUPS[one.face_eth] == ancestry) for ancestry in ANCESTRIES),
            muscle=0.5,
            weight=0.5,
        )
        for one in people.itertuples()
    ]


class Heads(Generator):
    """Heads as the survey measures them, and how high the tips of their noses stand above the septum's end."""

    def measure(self, amounts):
        """Measurements (n, 20) of amounts (n, A)."""
        tips = self.survey.locate((PRONASALE, SUBNASALE), self.sampler.cages(amounts))[..., 1]
        return np.c_[super().measure(amounts), tips[:, 0] - tips[:, 1]]


class ModelPeople:
    """People of the model with given traits."""

    def __init__(self):
        generator_parts.cache_clear()  # brows are painted on the mean face
        self.generator = FaceGenerator("full")
        self.parts = self.generator.parts
        self.points = self.parts.mesh.operator[[self.parts.landmarks[IBUG_LANDMARKS[number - 1]] for number in IBUG]]

    def measure(self, amounts):
        """Measure neutral faces: `PROPORTIONS` (n, 6) of amounts (n, A)."""
        blocks = np.array_split(amounts, 1 + len(amounts) // 30)
        places = [self.points @ cage for block in blocks for cage in self.parts.neutral_cages(block)]
        return proportions(np.stack(places), -1)

    def slopes(self, average, sliders):
        """How much each slider changes the proportions of a person with these sliders (S,): (6, S)."""
        return slider_slopes(self.parts.shapes, self.measure, average, sliders)

    def picture(self, traits, effects, covariance, random):
        """A person from the front."""
        shapes, sizes = self.parts.shapes, LARGEST_DEVIATION * np.sqrt(np.diag(covariance))
        amounts = shapes.macro_amounts(traits)
        deviations = random.multivariate_normal(np.zeros(len(sizes)), covariance).clip(-sizes, sizes)
        shapes.set_sliders(amounts, effects @ traits.effects + deviations)
        vertices = self.generator.operator @ self.parts.neutral_cages(amounts[None])[0].astype(np.float32)
        albedo = paint_person(self.generator.maps, traits, random)
        meshes = vertices, albedo, self.generator.triangles, self.generator.alignment_vertices
        return to_uint8(draw_mesh(*meshes, frontal_scene(1), PIXELS)[0])


def correct(effects, covariance, off, traits, slopes, surveyed):
    """Change effects (S, 5) so that proportions (P, 5) of people with these traits, which are `off`, come nearer.

    `slopes` (6, S) are those of the proportions, `surveyed` (20, S) of the measurements that stay.
    """
    known = np.stack([one.effects for one in traits])[:, [0, 1, 3, 4]]
    wanted = -np.linalg.lstsq(known, off, rcond=None)[0]
    moved = np.concatenate([slopes, surveyed])
    variance = moved @ covariance @ moved.T
    shares = np.repeat([SHOWN, SURVEYED], [len(slopes), len(surveyed)])
    gain = covariance @ moved.T @ np.linalg.inv(variance + np.diag(shares * np.diag(variance)))
    effects = effects.copy()
    effects[:, [0, 1, 3, 4]] += gain[:, : len(slopes)] @ wanted.T
    return effects


@torch.no_grad()
def main():
    """Rewrite the statistics."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    people = read_people(Path(parser.parse_args().folder))
    people = people[people.face_age.astype(float) < OLDEST]
    traits, sight, heads = read_traits(people), Sight(), Heads()
    shown = np.stack([sight.see(read_picture(path).pixels) for path in people.path])
    average = np.mean([heads.sampler.macro_amounts(one) for one in traits], 0)
    for number in range(ROUNDS + 1):
        with np.load(STATISTICS) as file:
            effects, covariance = (file[name].astype(float) for name in ("effects", "covariance"))
        model, random, own = ModelPeople(), np.random.default_rng(7), []
        for one in progress(traits, f"round {number}", total=len(traits), unit="person"):
            pictures = (model.picture(one, effects, covariance, random) for _ in range(DRAWN))
            own.append(np.mean([sight.see(picture) for picture in pictures], 0))
        off = np.stack(own) - shown
        off[people.face_eth == TWO_COLOURED, :LIPS] = 0
        groups = [people.face_eth.to_numpy(), people.face_gender.to_numpy()]
        print(
            "per cent:", pd.DataFrame(100 * off / shown, columns=PROPORTIONS).groupby(groups).mean().round(1), sep="\n"
        )
        if number < ROUNDS:
            sliders = np.mean([effects @ one.effects for one in traits], 0)
            slopes, surveyed = (each.slopes(average, sliders) for each in (model, heads))
            effects = correct(effects, covariance, off, traits, slopes, surveyed)
            np.savez_compressed(
                STATISTICS, effects=effects.astype(np.float32), covariance=covariance.astype(np.float32)
            )


if __name__ == "__main__":
    main()
