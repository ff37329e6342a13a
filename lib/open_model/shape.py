"""Neutral face shapes of the open model: MakeHuman's sliders with a plausible spread (CC0 morph targets)."""

import re
from dataclasses import dataclass
from itertools import product

import numpy as np

from lib.open_model.assets import load_target, target_names

ANCESTRIES = ("african", "asian", "caucasian")
"""MakeHuman's names of its three macro targets."""

SLIDER_FOLDERS = (
    "head", "eyes", "nose", "mouth", "chin", "cheek", "forehead", "ears", "eyebrows", "neck",
)  # fmt: skip
NOT_SLIDERS = re.compile(
    r"head-trans|head-angle|neck-trans|measure-|neck-scale-vert|neck-back|eyebrows-trans-(back|for)"
)
OPPOSITES = (
    ("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"), ("convex", "concave"),
    ("compress", "uncompress"),
)  # fmt: skip

SPREAD = (
    (r"^head-(oval|round|square|diamond|triang|rect|inverted)", 0.18),
    (r"^head-age", 0.14),
    (r"^head-fat", 0.20),
    (r"^head-back", 0.14),
    (r"^head-scale", 0.25),
    (r"^(nose|mouth)-trans-in", 0.08),
    (r"^nose-trans", 0.17),
    (r"^nose-(volume|scale|hump|greek|flaring|septumangle|compression|curve)", 0.22),
    (r"^nose", 0.28),
    (r"^mouth-trans", 0.20),
    (r"^mouth-(laugh|dimples)", 0.12),
    (r"^mouth", 0.28),
    (r"^eye-push", 0.14),
    (r"^eye-trans", 0.23),
    (r"^eye-(height|scale)", 0.27),
    (r"^eye-bag", 0.22),
    (r"^eye", 0.30),
    (r"^chin-(jaw-drop|bones|prognathism)", 0.17),
    (r"^chin", 0.25),
    (r"^cheek", 0.26),
    (r"^forehead", 0.26),
    (r"^ear", 0.28),
    (r"^eyebrows", 0.34),
    (r"^neck", 0.17),
    (r"", 0.25),
)
"""Standard deviation of the sliders by the first pattern that fits; 1 is the end of MakeHuman's slider."""

LARGEST_DEVIATION = 2.4
SIDE_DIFFERENCE = 0.18
"""How much the sliders of left and right differ, in standard deviations of the slider."""

ASYMMETRY_SPREAD, LARGEST_ASYMMETRY = 0.14, 0.4


@dataclass(frozen=True)
class Traits:
    """Who a simulated person is.

    Attributes
    ----------
    gender : float
        0 female to 1 male.
    age : float
        0 at 25 years to 1 at 90.
    ancestry : tuple of float
        Weights of `ANCESTRIES`, sum 1.
    muscle, weight : float
        In [0, 1], 0.5 is the average.
    """

    gender: float
    age: float
    ancestry: tuple[float, float, float]
    muscle: float
    weight: float

    @property
    def group(self):
        """Labels for a report: `age` in years, `gender`, and the `ancestry` that prevails (or `mixed`)."""
        largest = int(np.argmax(self.ancestry))
        return {
            "age": round(25 + 65 * self.age),
            "gender": "male" if self.gender > 0.5 else "female",
            "ancestry": ANCESTRIES[largest] if self.ancestry[largest] >= 0.5 else "mixed",
        }


@dataclass(frozen=True)
class _Slider:
    name: str
    sided: bool
    spread: float
    increase: int
    decrease: int | None


class ShapeSampler:
    """Draws neutral cages of people from sliders: base vertices (C, 3) in mm, and their indices (C,)."""

    def __init__(self, base_vertices, cage):
        self._base = base_vertices.astype(np.float32)
        names = []

        def index(name):
            names.append(name)
            return len(names) - 1

        self._sliders = [
            _Slider(name, sided, _spread(name), index(increase), None if decrease is None else index(decrease))
            for name, sided, increase, decrease in slider_pairs()
        ]
        self._asymmetries = [index(name) for name in target_names("asym") if "asymm" not in name]
        available = set(target_names("macrodetails")) | set(target_names("macrodetails/proportions"))
        anyone = Traits(gender=0.5, age=0.5, ancestry=(1 / 3, 1 / 3, 1 / 3), muscle=0.5, weight=0.5)
        # some memberships have no target: an average build, for instance, is the base mesh itself
        self._macros = {name: index(name) for name in _macro_weights(anyone, 0.5) if name in available}
        self._directions = np.stack([load_target(name, cage).ravel() for name in names])

    def sample(self, random):
        """Draw one person: amounts (A,) of the morph targets (see `cages`), and who it is (`Traits`)."""
        traits = self.sample_traits(random)
        proportions = float(np.clip(random.normal(0.58, 0.17), 0, 1))
        amounts = np.zeros(len(self._directions), np.float32)
        for name, weight in _macro_weights(traits, proportions).items():
            if name in self._macros:
                amounts[self._macros[name]] = weight
        shared = {}
        for slider in self._sliders:
            if slider.name not in shared:
                shared[slider.name] = np.clip(random.normal(), -LARGEST_DEVIATION, LARGEST_DEVIATION)
            difference = SIDE_DIFFERENCE * random.normal() if slider.sided else 0.0
            amount = slider.spread * (shared[slider.name] + difference)
            if slider.decrease is not None and amount < 0:
                amounts[slider.decrease] = -amount
            else:
                amounts[slider.increase] = amount
        asymmetries = random.normal(0, ASYMMETRY_SPREAD, len(self._asymmetries))
        amounts[self._asymmetries] = np.clip(asymmetries, -LARGEST_ASYMMETRY, LARGEST_ASYMMETRY)
        return amounts, traits

    def cages(self, amounts):
        """Apply morph targets: amounts (..., A) to cages (..., C, 3) in mm, in the base mesh's frame."""
        return self._base + (amounts @ self._directions).reshape(*amounts.shape[:-1], *self._base.shape)

    @staticmethod
    def sample_traits(random):
        """Draw who a person is (`Traits`) without a shape."""
        gender = float(np.clip((random.random() < 0.5) + random.normal(0, 0.16), 0, 1))
        age = float(0.9 * random.beta(1.1, 2.6))
        ancestry = tuple(float(weight) for weight in random.dirichlet([0.45] * 3))
        muscle = float(np.clip(random.normal(0.5, 0.20), 0, 1))
        weight = float(np.clip(random.normal(0.5, 0.21), 0, 1))
        return Traits(gender, age, ancestry, muscle, weight)


def slider_pairs():
    """Pair MakeHuman's targets to sliders: list of (name without side, sided, increase, decrease or None)."""
    targets = [name for folder in SLIDER_FOLDERS for name in target_names(folder) if not NOT_SLIDERS.search(name)]
    known, done, sliders = set(targets), set(), []
    for target in targets:
        if target in done:
            continue
        opposite = next((name for name in _opposites(target) if name in known), None)
        done |= {target, opposite}
        stem = target.partition("/")[2]
        sided = stem.startswith(("l-", "r-"))
        sliders.append((stem[2:] if sided else stem, sided, target, opposite))
    return sliders


def _opposites(target):
    for pair in OPPOSITES:
        for ending, other in (pair, pair[::-1]):
            if target.endswith("-" + ending):
                yield target.removesuffix(ending) + other


def _spread(name):
    return next(spread for pattern, spread in SPREAD if re.search(pattern, name))


def _macro_weights(traits, proportions):
    """Weights of the macro targets: products of memberships, as in MakeHuman."""
    genders = {"female": 1 - traits.gender, "male": traits.gender}
    ages = {"young": 1 - traits.age, "old": traits.age}
    ancestries = dict(zip(ANCESTRIES, traits.ancestry, strict=True))
    builds = {
        f"{muscle}-{weight}": a * b
        for (muscle, a), (weight, b) in product(
            _three_levels(traits.muscle, "muscle").items(), _three_levels(traits.weight, "weight").items()
        )
    }
    beauty = {
        "idealproportions": max(0.0, 2 * proportions - 1),
        "uncommonproportions": max(0.0, 1 - 2 * proportions),
    }
    weights = {}
    for (gender, a), (age, b) in product(genders.items(), ages.items()):
        for ancestry, c in ancestries.items():
            weights[f"macrodetails/{ancestry}-{gender}-{age}"] = a * b * c
        for build, c in builds.items():
            weights[f"macrodetails/universal-{gender}-{age}-{build}"] = a * b * c
            for kind, d in beauty.items():
                weights[f"macrodetails/proportions/{gender}-{age}-{build}-{kind}"] = a * b * c * d
    return weights


def _three_levels(value, name):
    return {
        f"min{name}": max(0.0, 1 - 2 * value),
        f"average{name}": 1 - abs(2 * value - 1),
        f"max{name}": max(0.0, 2 * value - 1),
    }
