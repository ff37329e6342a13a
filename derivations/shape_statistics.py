"""Derive `lib/open_model/shape_statistics.npz`: how the sliders of the open model's people are distributed.

Two sources: the 100 identity modes of ICT-FaceKit (MIT, © 2020 USC Institute for Creative Technologies) say how the
faces of real people vary; the NIOSH survey of 3,997 people (`derivations/survey_table.py`) says how large heads are
and how they depend on sex, age and ancestry.

1. The scans' mean face is fitted by sliders; each mode is then a displacement of the fitted face, and ridge regression
   gives it as sliders. What age, sex, ancestry and build already do (MakeHuman's macro targets) is taken off. The
   covariance of the sliders is that of the modes, plus what remains of the sliders' prior where the scans say nothing
   (law of total covariance).
2. Means and covariance change as little as possible (Mahalanobis distance; Kullback-Leibler divergence) so that 19
   measurements have the survey's means, effects and covariance.

After `derivations.base_mesh` and `derivations.morph_targets`:

    python -m derivations.shape_statistics ICT_IDENTITY.npz NIOSH_RespiratorUsersData-all-subjects.csv

`derivations.photographed_proportions` then corrects what neither source knows.
"""

import argparse
import re

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from derivations.survey import MEASUREMENTS, head_survey
from derivations.survey_table import read_survey
from lib.open_model.mesh import Part, border, load_mesh, vertex_parts
from lib.open_model.shape import LARGEST_DEVIATION, STATISTICS, ShapeSampler, Traits
from lib.rendering.vertices import unit_normals

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
    (r"^ear", 0.16),
    (r"^eyebrows", 0.17),
    (r"^neck", 0.12),
    (r"", 0.25),
)
"""Prior standard deviation of the sliders by the first pattern that fits; 1 is the end of MakeHuman's slider."""

BUMP_SPREAD, SIZE_SPREAD = 1.0, 0.045
"""Of the smooth displacements, mm; of the logarithm of the head's size."""

NOISE, INDEPENDENT_POINTS, TANGENTIAL = 0.4, 60, 0.5
"""Expected error of a displacement, mm; how many independent points a face is worth; weight of displacements along the
surface, which rest on less exact correspondence."""

EAR, REACH, FACE_RADIUS, LEAST_COSINE = 70.0, 4.0, 115.0, 0.5
"""Points farther than this from the middle, the scan, the tip of the nose (mm), or turned away, are left out."""

EYE_NOISE = 0.7
"""How far the eyeballs move otherwise than the lids, mm."""

POINTS, ROUNDS, MACRO_PEOPLE = 5000, 30, 600
SURVEY_ROUNDS = 8
OUTER_VERTICES = 9409
"""ICT-FaceKit's face, head and neck come first; eyes, teeth and the inside of the mouth follow."""

LEAST_REST = 0.1
"""Smallest share of a mode's variance that is left to the sliders."""

ANCESTRY = {"black": (1.0, 0.0, 0.0), "other": (0.0, 1.0, 0.0), "white": (0.0, 0.0, 1.0)}
"""The survey's race groups as `ANCESTRIES`: of "other" most are Asian; Hispanics are left out."""
MIDDLE_AGE = {name: (years - 25) / 65 for name, years in (("18-29", 24), ("30-44", 37), ("45-66", 53))}
"""As `Traits.age`."""

SCANS_SHARE, SURVEY_ALONE = 0.28, ("HEADCIRC", "NECKCIRC", "HEADLTH", "NOSEPRO")
"""What the scans' mean counts beside the survey's, where both say something: the survey's people are heavier, and its
landmarks were felt under the skin. The scans lack the back of the head; with a share of theirs, noses would protrude
2.5 % more than the survey's."""

ERROR, ERRORS = 0.1, {"NECKCIRC": 20.0, "NROOTBR": 0.3}
"""Share of a measurement's variance that is error of measuring, landmarks and soft tissue included: without it, noise
that is independent between 19 measurements would become bumps on faces. The neck is not the face's; the root of the
nose is measured in another way."""


def prior_spread(sampler):
    """Prior standard deviations (S,) of sliders, bumps and size."""
    sliders = [next(spread for pattern, spread in SPREAD if re.search(pattern, name)) for name in sampler.slider_names]
    return np.array([*sliders, *[BUMP_SPREAD] * (sampler.slider_count - len(sliders) - 1), SIZE_SPREAD])


class Scans:
    """ICT-FaceKit's mean face (V, 3), its normals and its modes (100, V, 3), mm; `scale` is how `move` changed them."""

    def __init__(self, path):
        data = np.load(path)
        outside = (data["quads"] < OUTER_VERTICES).all(axis=1)
        quads = data["quads"][outside]
        self.triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        self.mean = 10.0 * data["neutral"][:OUTER_VERTICES].astype(float)
        self.modes = 10.0 * data["identity"][:, :OUTER_VERTICES].astype(float)
        self.normals, self.scale = unit_normals(self.mean, self.triangles), 1.0

    def move(self, linear, centre, shift):
        self.scale *= np.cbrt(np.linalg.det(linear))
        self.mean = (self.mean - centre) @ linear.T + centre + shift
        self.modes = self.modes @ linear.T
        self.normals = unit_normals(self.mean, self.triangles)


class Head:
    """The uncut head: `POINTS` places of its skin, and how sliders, bumps and people of other traits move them."""

    def __init__(self, random):
        mesh = load_mesh()
        self.sampler = ShapeSampler(mesh.base, mesh.cage)
        skin = np.flatnonzero(vertex_parts(mesh) == Part.SKIN)
        people = np.stack([macro_person(self.sampler, random)[1] for _ in range(MACRO_PEOPLE)])
        start = mesh.operator @ self.sampler.cages(people.mean(axis=0))
        tip = start[skin[start[skin, 2].argmax()]]
        near = (np.linalg.norm(start[skin] - tip, axis=1) < FACE_RADIUS) & (np.abs(start[skin, 0]) < EAR)
        chosen = np.sort(random.choice(skin[near], POINTS, replace=False))
        operator = mesh.operator[chosen]
        self.tip, self.start, self.normals = tip, start[chosen], unit_normals(start, mesh.triangles)[chosen]
        eyes = _eyes_against_lids(mesh, start)
        self.macros = np.stack([operator @ self.sampler.cages(amounts) for amounts in people]) - self.start
        steps = np.eye(self.sampler.slider_count)[:-1]
        changes = [
            0.5 * (self.sampler.cages(self._amounts(step)) - self.sampler.cages(self._amounts(-step))) for step in steps
        ]
        self.directions = np.stack([operator @ change for change in changes])
        # the scans have no eyeballs: expect them to move with the lids
        self.eye_directions = np.stack([(eyes @ change).ravel() for change in changes])

    def _amounts(self, sliders):
        amounts = np.zeros(self.sampler.amount_count)
        self.sampler.set_sliders(amounts, sliders)
        return amounts


def _eyes_against_lids(mesh, points):
    """Rows that give the places (2, 3) of the eyeballs' fronts from the middles of their lids' margins."""
    lids, part = border(mesh, Part.LID_RIM), vertex_parts(mesh)
    rows = []
    for eye in (0, 1):
        front = np.flatnonzero((part == Part.RIGHT_EYE + eye) & (mesh.eye_angles[:, 0] < 0.4))
        side = lids[(points[lids, 0] > 0) == eye]
        rows.append(mesh.operator[front].mean(axis=0) - mesh.operator[side].mean(axis=0))
    return np.asarray(np.concatenate(rows))


def macro_person(sampler, random):
    """A random person with all sliders at 0: traits and amounts."""
    traits = sampler.sample_traits(random)
    return traits, sampler.macro_amounts(traits)


def fit_mean(scans, head, spread):
    """Move the scans onto the head and fit their mean face: sliders (S - 1,), by closest points (Chen and Medioni)."""
    scans.move(np.eye(3), 0, head.tip - scans.mean[scans.mean[:, 2].argmax()])
    sliders, eyes = np.zeros(len(spread)), head.eye_directions * spread[:, None] / EYE_NOISE
    for round_number in range(ROUNDS):
        face = head.start + np.tensordot(sliders, head.directions, axes=1)
        distance, nearest = cKDTree(scans.mean).query(face)
        normals = scans.normals[nearest]
        kept = (distance < max(REACH, 3 * np.median(distance))) & ((normals * head.normals).sum(1) > LEAST_COSINE)
        points, normals = scans.mean[nearest[kept]], normals[kept]
        centre = points.mean(axis=0)
        similarity = np.c_[-np.cross(points - centre, normals), -normals, -((points - centre) * normals).sum(1)]
        columns = np.c_[(head.directions[:, kept] * normals).sum(2).T * spread, similarity]
        noise = NOISE**2 * kept.sum() / INDEPENDENT_POINTS * (1 if round_number >= ROUNDS / 2 else 25)
        prior = np.diag(np.r_[np.full(len(spread), noise), np.full(7, 1e-9)])
        prior[: len(spread), : len(spread)] += noise * eyes @ eyes.T
        distances = ((points - head.start[kept]) * normals).sum(axis=1)
        found = np.linalg.solve(columns.T @ columns + prior, columns.T @ distances)
        sliders = found[:-7] * spread
        turn, shift, growth = found[-7:-4], found[-4:-1], found[-1]
        scans.move((1 + growth) * Rotation.from_rotvec(turn).as_matrix(), centre, shift)
    print(f"scans' mean face: {np.abs(columns @ found - distances).mean():.2f} mm, {kept.mean():.0%} of the face")
    return sliders, face


def scan_statistics(path, random):
    """Mean (S,) and covariance (S, S) of sliders, bumps and size from the scans and the prior."""
    scans, head = Scans(path), Head(random)
    spread = prior_spread(head.sampler)[:-1]
    mean, face = fit_mean(scans, head, spread)
    distance, nearest = cKDTree(scans.mean).query(face, k=3)
    kept = distance[:, 0] < REACH
    shares = 1 / (distance[kept] + 0.3)
    shares /= shares.sum(axis=1, keepdims=True)
    modes = (scans.modes[:, nearest[kept]] * shares[..., None]).sum(axis=2)
    normals, points = head.normals[kept], face[kept] - face[kept].mean(axis=0)
    axes = np.eye(3)
    similarity = [np.cross(axis, points) for axis in axes] + [np.broadcast_to(axis, points.shape) for axis in axes]

    def flat(displacements):
        along = (displacements * normals).sum(axis=-1, keepdims=True) * normals
        return (TANGENTIAL * displacements + (1 - TANGENTIAL) * along).reshape(*displacements.shape[:-2], -1)

    rigid, _ = np.linalg.qr(flat(np.stack([*similarity, points])).T)
    modes, macros, sliders = (
        values - values @ rigid @ rigid.T
        for values in (flat(modes), flat(head.macros[:, kept]), flat(head.directions[:, kept]) * spread[:, None])
    )
    noise = NOISE**2 * kept.sum() / INDEPENDENT_POINTS
    # what sex, age, ancestry and build do already, in the modes' own coefficients
    done = np.cov(np.linalg.solve(modes @ modes.T + noise * np.eye(len(modes)), modes @ macros.T))
    values, vectors = np.linalg.eigh(np.eye(len(modes)) - done)
    modes = (vectors * np.sqrt(values.clip(LEAST_REST))) @ vectors.T @ modes
    eyes = head.eye_directions * spread[:, None] / EYE_NOISE
    unseen = np.linalg.inv(sliders @ sliders.T / noise + eyes @ eyes.T + np.eye(len(sliders)))
    seen = modes @ sliders.T @ unseen / noise
    explained = 1 - ((modes - seen @ sliders) ** 2).sum() / (modes**2).sum()
    print(f"sliders explain {explained:.0%} of the scans' variance")
    covariance = np.pad((seen.T @ seen + unseen) * np.outer(spread, spread), (0, 1))
    covariance[-1, -1] = SIZE_SPREAD**2
    return np.r_[mean, -np.log(scans.scale)], covariance


class Survey:
    """What the survey says: effects (5, M), mean and covariance by sex; races are weighted alike, ages as there."""

    def __init__(self, path):
        people = read_survey(path).dropna(subset=["sex", "age", "race"])
        people = people[people.race.isin(ANCESTRY)]
        male = (people.sex == "male").to_numpy()
        traits = zip(male.astype(float), people.age.map(MIDDLE_AGE), people.race.map(ANCESTRY))
        effects = np.stack([Traits(*each, muscle=0.5, weight=0.5).effects for each in traits])
        cells = people.sex + people.race
        weights = 1 / cells.map(cells.value_counts()).to_numpy()
        values = people[list(MEASUREMENTS)].to_numpy()
        root = np.sqrt(weights)
        self.effects = np.zeros((effects.shape[1], len(MEASUREMENTS)))
        for k, column in enumerate(values.T):
            known = np.isfinite(column)
            scaled = root[known, None]
            self.effects[:, k] = np.linalg.lstsq(effects[known] * scaled, column[known] * scaled[:, 0], rcond=None)[0]
        self.residual = moments(values - effects @ self.effects, weights)[1]
        self.by_sex = {sex: moments(values[male == sex], weights[male == sex]) for sex in (False, True)}

    def meet(self, scanned):
        """Move the means towards what the scans' mean face measures (M,)."""
        average = 0.5 * sum(self.by_sex[sex][0] for sex in (False, True))
        shift = SCANS_SHARE * (scanned - average) * [name not in SURVEY_ALONE for name in MEASUREMENTS]
        self.effects[0] += shift
        self.by_sex = {sex: (mean + shift, covariance) for sex, (mean, covariance) in self.by_sex.items()}


def moments(values, weights):
    """Weighted mean (M,) and covariance (M, M) of rows with gaps: each entry from the rows that have it."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0)
    mean = weights @ filled / (weights @ known)
    centred = np.where(known, values - mean, 0)
    return mean, (centred.T * weights) @ centred / ((known.T * weights) @ known)


def slider_slopes(sampler, measure, average, sliders, step=0.3):
    """How much each slider changes what is measured: (M, S), by central differences.

    `measure` takes amounts (n, A) to measurements (n, M); the person has `average` amounts (A,) and `sliders` (S,).
    """
    steps = step * np.eye(sampler.slider_count)
    steps[-1] *= 0.1
    amounts = np.repeat(average[None], 2 * len(steps), axis=0)
    sampler.set_sliders(amounts, sliders + np.concatenate([steps, -steps]))
    more, less = np.split(measure(amounts), 2)
    return ((more - less) / (2 * np.diag(steps)[:, None])).T


class Generator:
    """Heads as the survey measures them, from sliders."""

    def __init__(self):
        self.survey = head_survey()
        self.sampler = ShapeSampler(self.survey.base, self.survey.vertices)

    def measure(self, amounts):
        """Measurements (n, M) of amounts (n, A)."""
        blocks = np.array_split(amounts, 1 + len(amounts) // 60)
        return np.concatenate([self.survey.measure(self.sampler.cages(block)) for block in blocks])

    def slopes(self, average, sliders):
        """How much each slider changes the measurements of a person with these sliders (S,): (M, S)."""
        slopes = slider_slopes(self.sampler, self.measure, average, sliders)
        slopes[:, self.sampler.slider_names.index("eye-epicanthus-in")] = 0  # a fold of the lid says nothing of bones
        return slopes

    def people(self, effects, covariance, count, seed):
        """Random people: effects (n, 5) of their traits, and measurements (n, M)."""
        random = np.random.default_rng(seed)
        traits, amounts = zip(*(macro_person(self.sampler, random) for _ in range(count)), strict=True)
        known = np.stack([one.effects for one in traits])
        deviations = random.multivariate_normal(np.zeros(len(covariance)), covariance, count)
        limit = LARGEST_DEVIATION * np.sqrt(np.diag(covariance))
        amounts = np.stack(amounts)
        self.sampler.set_sliders(amounts, known @ effects + np.clip(deviations, -limit, limit))
        return known, self.measure(amounts)


def survey_statistics(survey, mean, covariance):
    """Change mean (S,) and covariance (S, S) so that people measure as surveyed: effects (5, S), covariance (S, S)."""
    generator = Generator()
    random = np.random.default_rng(2)
    traits, amounts = zip(*(macro_person(generator.sampler, random) for _ in range(MACRO_PEOPLE)), strict=True)
    amounts, known = np.stack(amounts), np.stack([one.effects for one in traits])
    generator.sampler.set_sliders(amounts, mean)
    measured = generator.measure(amounts)
    survey.meet(measured.mean(axis=0))
    done = np.linalg.lstsq(known, measured, rcond=None)[0]
    done_residual = np.cov((measured - known @ done).T)
    slopes = generator.slopes(amounts.mean(axis=0), mean)
    shares = np.array([ERRORS.get(name, ERROR) for name in MEASUREMENTS])
    steady, error = shares < 1, np.diag(shares * np.diag(survey.residual))
    prior = slopes @ covariance @ slopes.T + error
    gain = covariance @ slopes.T @ np.linalg.inv(prior)
    for _ in range(SURVEY_ROUNDS):
        effects = (gain @ (survey.effects - done).T).T
        effects[0] += mean
        fitted = covariance + gain @ (survey.residual - done_residual - prior) @ gain.T
        values, vectors = np.linalg.eigh(fitted)
        fitted = (vectors * values.clip(0)) @ vectors.T
        known, measured = generator.people(effects, fitted, 2000, seed=10)
        # what sliders do is not quite linear, and groups are told apart by their sex: correct what remains
        off = np.linalg.lstsq(known, measured, rcond=None)[0] - survey.effects
        male = known[:, 1] > 0
        difference = {sex: measured[male == sex].mean(axis=0) - survey.by_sex[sex][0] for sex in (False, True)}
        gap = known[male, 1].mean() - known[~male, 1].mean()
        off[0], off[1] = 0.5 * (difference[True] + difference[False]), (difference[True] - difference[False]) / gap
        done += 0.8 * off * steady
        excess = sum(relative_covariance(measured[male == sex], error, survey.by_sex[sex][1]) for sex in (False, True))
        scale = np.sqrt(0.5 * sum(np.diag(survey.by_sex[sex][1]) for sex in (False, True)))
        done_residual = done_residual + 0.25 * excess * np.outer(scale, scale) * np.outer(steady, steady)
        report(survey, known, measured)
    # the errors of measuring made all spreads smaller: whole faces spread more instead, which makes no bumps
    missing = [np.diag(survey.by_sex[sex][1]) / measured[male == sex].var(axis=0) for sex in (False, True)]
    growth = np.mean(missing, axis=0)[steady].mean()
    print(f"covariance times {growth:.3f}")
    fitted *= growth
    report(survey, *generator.people(effects, fitted, 2000, seed=11))
    return effects, fitted


def relative_covariance(values, error, covariance):
    """How far the covariance of values (n, M) with their errors is off, in units of the wanted standard deviations."""
    scale = np.sqrt(np.diag(covariance))
    return (np.cov(values.T) + error - covariance) / np.outer(scale, scale)


def report(survey, known, measured):
    """Print how near people come to the survey."""
    for sex, name in ((True, "male"), (False, "female")):
        values, (mean, covariance) = measured[(known[:, 1] > 0) == sex], survey.by_sex[sex]
        means = values.mean(axis=0) / mean - 1
        deviations = values.std(axis=0) / np.sqrt(np.diag(covariance)) - 1
        scale = np.sqrt(np.diag(covariance))
        off = np.corrcoef(values.T) - covariance / np.outer(scale, scale)
        rows = np.triu_indices(len(mean), 1)
        worst = MEASUREMENTS[np.abs(means).argmax()], MEASUREMENTS[np.abs(deviations).argmax()]
        print(
            f"{name}: means off by {np.abs(means).mean():.1%} (at most {np.abs(means).max():.1%}, {worst[0]}), "
            f"standard deviations by {np.abs(deviations).mean():.0%} (at most {np.abs(deviations).max():.0%}, "
            f"{worst[1]}), correlations by {np.abs(off[rows]).mean():.3f}"
        )


def main():
    """Derive and write the statistics."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scans")
    parser.add_argument("survey")
    arguments = parser.parse_args()
    mean, covariance = scan_statistics(arguments.scans, np.random.default_rng(0))
    effects, covariance = survey_statistics(Survey(arguments.survey), mean, covariance)
    np.savez_compressed(STATISTICS, effects=effects.T.astype(np.float32), covariance=covariance.astype(np.float32))


if __name__ == "__main__":
    main()
