"""Neutral face shapes of the open model: MakeHuman's sliders (CC0 morph targets) with the spread of real people."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from lib.open_model.targets import load_groups, load_targets, morph_targets

ANCESTRIES = ("african", "asian", "caucasian")  # MakeHuman's names of its three macro targets

STATISTICS = Path(__file__).with_name("shape_statistics.npz")
"""How the sliders of random people are distributed: `effects`, five per slider (mean, gender, age, ancestry: see
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
        groups = load_groups()
        names, sided, more, less = zip(*groups["sliders"], strict=True)
        self.slider_names = list(dict.fromkeys(names))
        self._rows = np.array([self.slider_names.index(name) for name in names])
        self._sided, self._one_sided = np.array(sided), np.array([name is None for name in less])
        parts = {"more": more, "less": [name for name in less if name]}
        parts |= {name: groups[name] for name in ("asymmetries", "macros")}
        ends = np.cumsum([0] + [len(part) for part in parts.values()])
        self._columns = {name: slice(*ends[k : k + 2]) for k, name in enumerate(parts)}

        targets = load_targets([name for part in parts.values() for name in part], cage)
        self._columns["bumps"] = slice(len(targets), len(targets) + 3 * BUMPS)
        directions = np.concatenate([targets, bumps(base_vertices)])
        self._directions = directions.reshape(len(directions), -1).astype(np.float32)
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
        amounts, weights = np.zeros(self.amount_count, np.float32), macro_weights(traits)
        amounts[self._columns["macros"]] = [weights[name] for name in load_groups()["macros"]]
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
    centres = morph_targets()["bump_places"]
    left, right = (
        np.exp(-0.5 * ((points[:, None] - places) ** 2).sum(axis=2) / BUMP_WIDTH**2).T[:, None, :, None]
        for places in (centres, centres * MIRROR)
    )
    axes = np.eye(3)[:, None]
    return (left * axes + right * axes * MIRROR).reshape(-1, *points.shape)


def macro_weights(traits):
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
