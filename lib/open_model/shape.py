"""Neutral face shapes of the open model: MakeHuman's sliders (CC0 morph targets) with the spread of real people."""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from lib.open_model.assets import load_base_mesh, load_target, target_names

ANCESTRIES = ("african", "asian", "caucasian")  # MakeHuman's names of its three macro targets

SLIDER_FOLDERS = "head", "eyes", "nose", "mouth", "chin", "cheek", "forehead", "ears", "eyebrows", "neck"
NOT_SLIDERS = re.compile("head-trans|head-angle|neck-(trans|scale-vert|back)|measure-|eyebrows-trans-(back|for)")
OPPOSITES = "incr decr", "up down", "out in", "forward backward", "convex concave", "compress uncompress"

STATISTICS = Path(__file__).with_name("shape_statistics.npz")
"""How the sliders of random people are distributed: `effects`, five a slider (mean, gender, age, ancestry: see
`Traits.effects`), and `covariance`. Derived by `derivations/shape_statistics.py`: heads measure as in the survey
(`derivations/survey.py`) and vary as ICT-FaceKit's scans do (MIT). Means of lips, mouth, nose, brows and lids are
then corrected by photographs (`derivations/photographed_proportions.py`)."""

BUMPS, BUMP_WIDTH = 34, 18.0  # places on one side of the face that smooth displacements move, and their width (mm)
LARGEST_DEVIATION = 2.6
SIDE_DIFFERENCE = 0.1  # how much the sliders of left and right differ, in standard deviations of the slider
ASYMMETRY_SPREAD, LARGEST_ASYMMETRY = 0.08, 0.24
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Traits:
    """Who a simulated person is."""

    gender: float  # 0 female to 1 male
    age: float  # 0 at 25 years to 1 at 90
    ancestry: tuple[float, float, float]  # weights of `ANCESTRIES`, sum 1
    muscle: float  # in [0, 1], 0.5 is the average
    weight: float  # the same

    @property
    def effects(self):
        """What the sliders' means depend on, ndarray (5,): 1, gender, age and two ancestries about their averages."""
        african, asian, _ = self.ancestry
        return np.array([1, self.gender - 0.5, (25 + 65 * self.age - 42) / 20, african - 1 / 3, asian - 1 / 3])

    @property
    def group(self):
        """Labels for a report: `age` in years, `gender`, and the `ancestry` that prevails (or `mixed`)."""
        largest = int(np.argmax(self.ancestry))
        return {
            "age": round(25 + 65 * self.age),
            "gender": "male" if self.gender > 0.5 else "female",
            "ancestry": ANCESTRIES[largest] if self.ancestry[largest] >= 0.5 else "mixed",
        }


class ShapeSampler:
    """Draws neutral cages of people: base vertices (C, 3) in mm, and their indices (C,).

    A cage is the base mesh, plus MakeHuman's macro targets and small asymmetries, plus sliders: MakeHuman's own (two
    targets each for more and less), smooth displacements in mm that make up for what these cannot do
    (`bumps`), and the logarithm of the head's size.
    """

    def __init__(self, base_vertices, cage):
        self._base = base_vertices.astype(np.float32)
        sliders = slider_pairs()
        self.slider_names = list(dict.fromkeys(slider.name for slider in sliders))
        self._rows = np.array([self.slider_names.index(slider.name) for slider in sliders])
        self._sided = np.array([slider.sided for slider in sliders])
        self._one_sided = np.array([slider.less is None for slider in sliders])
        available, anyone = set(target_names("macrodetails")), Traits(0.5, 0.5, (1 / 3, 1 / 3, 1 / 3), 0.5, 0.5)
        # some memberships have no target: an average build, for instance, is the base mesh itself
        self._macros = [name for name in _macro_weights(anyone) if name in available]
        asymmetries = [name for name in target_names("asym") if "asymm" not in name]
        more, less = [slider.more for slider in sliders], [slider.less for slider in sliders if slider.less]
        parts = {"more": more, "less": less, "asymmetries": asymmetries, "macros": self._macros}
        ends = np.cumsum([0] + [len(part) for part in parts.values()])
        self._columns = {name: slice(*ends[k : k + 2]) for k, name in enumerate(parts)}

        targets = np.stack([load_target(name, cage).ravel() for part in parts.values() for name in part])
        self._columns["bumps"] = slice(len(targets), len(targets) + 3 * BUMPS)
        self._directions = np.concatenate([targets, bumps(base_vertices).reshape(3 * BUMPS, -1)]).astype(np.float32)
        self.slider_count = len(self.slider_names) + 3 * BUMPS + 1
        self.amount_count = len(self._directions) + 1

    @cached_property
    def _population(self):
        """The sliders' effects, and the factor and standard deviations of their covariance."""
        with np.load(STATISTICS) as file:
            effects, covariance = (file[name].astype(float) for name in ("effects", "covariance"))
        values, vectors = np.linalg.eigh(covariance)
        return effects, vectors * np.sqrt(values.clip(0)), np.sqrt(np.diag(covariance))

    def sample(self, random):
        """Draw one person: amounts (A,) of the displacements (see `cages`), and who it is (`Traits`)."""
        traits = self.sample_traits(random)
        amounts = self.macro_amounts(traits)
        effects, factor, deviations = self._population
        limit = LARGEST_DEVIATION * deviations
        sliders = np.clip(factor @ random.normal(size=len(deviations)), -limit, limit)
        sliders += effects @ traits.effects
        differences = SIDE_DIFFERENCE * self._sided * deviations[self._rows] * random.normal(size=len(self._rows))
        self.set_sliders(amounts, sliders, differences)
        asymmetries = random.normal(0, ASYMMETRY_SPREAD, len(amounts[self._columns["asymmetries"]]))
        amounts[self._columns["asymmetries"]] = np.clip(asymmetries, -LARGEST_ASYMMETRY, LARGEST_ASYMMETRY)
        return amounts, traits

    def macro_amounts(self, traits):
        """Amounts (A,) of a person with all sliders at 0."""
        amounts, weights = np.zeros(self.amount_count, np.float32), _macro_weights(traits)
        amounts[self._columns["macros"]] = [weights[name] for name in self._macros]
        return amounts

    def set_sliders(self, amounts, sliders, differences=0.0):
        """Write sliders (..., S), and how their sides differ, into amounts (..., A)."""
        values = sliders[..., self._rows] + differences
        amounts[..., self._columns["more"]] = np.where(self._one_sided, values, np.maximum(values, 0))
        amounts[..., self._columns["less"]] = np.maximum(-values, 0)[..., ~self._one_sided]
        amounts[..., self._columns["bumps"]] = sliders[..., len(self.slider_names) : -1]
        amounts[..., -1] = sliders[..., -1]

    def cages(self, amounts):
        """Make cages (..., C, 3) in mm, in the base mesh's frame, from amounts (..., A): displacements, log size."""
        cages = self._base + (amounts[..., :-1] @ self._directions).reshape(*amounts.shape[:-1], *self._base.shape)
        return cages * np.exp(amounts[..., -1])[..., None, None]

    @staticmethod
    def sample_traits(random):
        """Draw who a person is (`Traits`) without a shape."""
        gender = float(np.clip((random.random() < 0.5) + random.normal(0, 0.16), 0, 1))
        age = float(0.9 * random.beta(1.1, 2.6))
        ancestry = tuple(float(weight) for weight in random.dirichlet([0.45] * 3))
        muscle = float(np.clip(random.normal(0.5, 0.14), 0, 1))
        weight = float(np.clip(random.normal(0.5, 0.15), 0, 1))
        return Traits(gender, age, ancestry, muscle, weight)


def bumps(points):
    """Displacements by 1 mm along each axis about `BUMPS` places and their mirror images, fading: (3 BUMPS, C, 3)."""
    base = load_base_mesh()
    skin = base.vertices[np.unique(base.faces[base.groups == "body"])]
    front = skin[(skin[:, 2] > 30) & (np.abs(skin[:, 1]) < 95) & (skin[:, 0] >= 0)]
    centres = front[[0]]
    for _ in range(BUMPS - 1):
        centres = np.r_[centres, front[[cKDTree(centres).query(front)[0].argmax()]]]
    left, right = (
        np.exp(-0.5 * ((points[:, None] - places) ** 2).sum(axis=2) / BUMP_WIDTH**2).T[:, None, :, None]
        for places in (centres, centres * MIRROR)
    )
    axes = np.eye(3)[:, None]
    return (left * axes + right * axes * MIRROR).reshape(-1, *points.shape)


class Slider(NamedTuple):
    """A pair of opposite morph targets, or one that has no opposite; `name` is that of both sides of the face."""

    name: str
    sided: bool
    more: str
    less: str | None


def slider_pairs():
    """Pair MakeHuman's targets to sliders: list of `Slider`."""
    targets = [name for folder in SLIDER_FOLDERS for name in target_names(folder) if not NOT_SLIDERS.search(name)]
    endings = [each for pair in map(str.split, OPPOSITES) for each in (pair, pair[::-1])]
    done, sliders = set(), []
    for target in targets:
        if target in done:
            continue
        opposites = [target.removesuffix(one) + other for one, other in endings if target.endswith(f"-{one}")]
        opposite = next((name for name in opposites if name in targets), None)
        done |= {target, opposite}
        stem = target.partition("/")[2]
        sided = stem.startswith(("l-", "r-"))
        sliders.append(Slider(stem[2:] if sided else stem, sided, target, opposite))
    return sliders


def _macro_weights(traits):
    """Weights of the macro targets: products of memberships, as in MakeHuman."""
    genders = {"female": 1 - traits.gender, "male": traits.gender}
    ages = {"young": 1 - traits.age, "old": traits.age}
    ancestries = dict(zip(ANCESTRIES, traits.ancestry, strict=True))
    levels = (_three_levels(getattr(traits, name), name).items() for name in ("muscle", "weight"))
    builds = {f"{muscle}-{weight}": a * b for (muscle, a), (weight, b) in product(*levels)}
    weights = {}
    for (gender, a), (age, b) in product(genders.items(), ages.items()):
        for ancestry, c in ancestries.items():
            weights[f"macrodetails/{ancestry}-{gender}-{age}"] = a * b * c
        for build, c in builds.items():
            weights[f"macrodetails/universal-{gender}-{age}-{build}"] = a * b * c
    return weights


def _three_levels(value, name):
    return {
        f"min{name}": max(0.0, 1 - 2 * value),
        f"average{name}": 1 - abs(2 * value - 1),
        f"max{name}": max(0.0, 2 * value - 1),
    }
