"""The open face model: a morphable model in the BFM 2017 layout, built from CC0 assets alone.

People are drawn from MakeHuman's sliders and a model of skin (`lib.open_model.generator`), and their principal
components make the linear models of Eq. 1. Same seed, same values.
"""

import json
from dataclasses import dataclass

import numpy as np

from lib.core.progress import progress
from lib.face_model.file import FaceModelFile, LinearModel, write_face_model
from lib.open_model.generator import FaceGenerator
from lib.open_model.paint import paint_person
from lib.open_model.shape import MIRROR

SHAPE_COMPONENTS, TEXTURE_COMPONENTS, EXPRESSION_COMPONENTS = 199, 199, 100  # as in the Basel Face Model 2017

RELATIVE_TOLERANCE = 1e-9  # eigenvalues below this share of the largest one are rounding errors


def build_open_face_model(path, resolution, seed, shape_samples, texture_samples, expression_samples):
    """Build the open face model of a resolution, "full" or "light", and write its file.

    The components are fitted to so many samples of people and expressions, each with its mirror image. With fewer than
    half the components (100, 100 and 50) the last ones have variance zero: such a model has the right dimensions for a
    trial run, and no more. A light model has other texture components than a full one: fitted to the light mesh.
    """
    generator = FaceGenerator(resolution)
    shape_seed, texture_seed, expression_seed = np.random.SeedSequence(seed).spawn(3)
    shape = _fit_shape(generator, shape_samples, np.random.default_rng(shape_seed))
    expression = _fit_expression(generator, expression_samples, np.random.default_rng(expression_seed))
    texture = _fit_texture(generator, texture_samples, np.random.default_rng(texture_seed))
    points = shape.mean.reshape(-1, 3).astype(np.float32)
    places = sorted(generator.landmarks.items())
    landmarks = json.dumps([{"id": name, "coordinates": points[vertex].tolist()} for name, vertex in places])
    layout = generator.texture_coordinates, generator.texture_triangles
    model = FaceModelFile(shape, texture, expression, generator.triangles.T, points.T, landmarks, layout)
    write_face_model(path, model)


def light_mesh(resolution):
    """Find the light mesh in that of a `resolution`, for small views: vertices (n,) to keep, and triangles (T, 3)."""
    generator, light = FaceGenerator(resolution), FaceGenerator("light")
    return np.searchsorted(generator.rows, light.rows), light.triangles


def _fit_shape(generator, count, random):
    parts, blocks = generator.parts, np.array_split(np.arange(count), 1 + count // 100)
    cages = np.concatenate([
        parts.neutral_cages(np.stack([parts.shapes.sample(random)[0] for _ in block]))
        for block in progress(blocks, "face shapes")
    ])  # fmt: skip
    return _fit_cages(generator, cages, True, SHAPE_COMPONENTS)


def _fit_expression(generator, count, random):
    """Components of the expressions about the neutral face: the mean displacement counts as variance."""
    sampler = generator.parts.expressions
    samples = np.stack([sampler.sample(random) for _ in progress(range(count), "expressions")])
    return _fit_cages(generator, samples.astype(np.float64), False, EXPRESSION_COMPONENTS)


def _fit_cages(generator, cages, centred, components):
    """Components of refined cages (n, C, 3), worked out on these: refinement is linear and keeps mirror images."""
    mirrored = cages[:, generator.parts.mesh.cage_mirror] * MIRROR
    even, odd = 0.5 * (cages + mirrored), 0.5 * (cages - mirrored)
    mean = even.mean(axis=0) if centred else np.zeros(even.shape[1:])
    even -= mean
    even_freedom = max(len(even) - 1, 1) if centred else len(even)
    operator = generator.operator.astype(np.float64)
    metric = (operator.T @ operator).tocsr()
    grams = [sum(part[:, :, axis] @ (metric @ part[:, :, axis].T) for axis in range(3)) for part in (even, odd)]
    modes = mirrored_modes(*grams, even_freedom, len(odd), components)

    def refine(weights, part):
        directions = np.tensordot(weights.T, part, axes=1)
        return np.stack([operator @ directions[:, :, axis].T for axis in range(3)], axis=1).reshape(-1, len(directions))

    basis = modes.assemble(refine(modes.even, even), refine(modes.odd, odd))
    return _linear_model((operator @ mean).ravel(), basis, modes)


def _fit_texture(generator, count, random):
    """Components of the albedo; even parts are kept on half the face and its middle, odd ones on the half."""
    vertex, mirror = np.arange(generator.vertex_count), generator.mirror
    half, middle = np.flatnonzero(mirror > vertex), np.flatnonzero(mirror == vertex)
    kept = np.concatenate([half, middle])
    even = np.empty((count, len(kept), 3), np.float32)
    odd = np.empty((count, len(half), 3), np.float32)
    for index in progress(range(count), "face textures"):
        albedo = paint_person(generator.maps, generator.parts.shapes.sample_traits(random), random)
        even[index] = 0.5 * (albedo[kept] + albedo[mirror[kept]])
        odd[index] = 0.5 * (albedo[half] - albedo[mirror[half]])
    mean = even.mean(axis=0, dtype=np.float64).astype(np.float32)
    even -= mean
    # in inner products both halves count, the middle once
    even[:, : len(half)] *= np.float32(np.sqrt(2))
    odd *= np.float32(np.sqrt(2))
    even, odd = even.reshape(count, -1), odd.reshape(count, -1)
    modes = mirrored_modes(even @ even.T, odd @ odd.T, max(count - 1, 1), count, TEXTURE_COMPONENTS)
    even_basis = (even.T @ modes.even.astype(np.float32)).reshape(len(kept), 3, -1)
    odd_basis = (odd.T @ modes.odd.astype(np.float32)).reshape(len(half), 3, -1) / np.float32(np.sqrt(2))
    even_basis[: len(half)] /= np.float32(np.sqrt(2))
    whole = _unfold(even_basis, kept, mirror, 1), _unfold(odd_basis, half, mirror, -1)
    basis = modes.assemble(*(part.reshape(3 * len(vertex), -1) for part in whole))
    return _linear_model(_unfold(mean, kept, mirror, 1).ravel(), basis, modes)


def _unfold(values, rows, mirror, sign):
    """Complete values (n, ...) of one half of the vertices by their mirror images, times `sign`; 0 where none are."""
    whole = np.zeros((len(mirror), *values.shape[1:]), np.float32)
    whole[mirror[rows]] = sign * values
    whole[rows] = values
    return whole


def _linear_model(mean, basis, modes):
    unexplained = max(modes.total_variance - float(modes.variance.sum()), 0.0)
    return LinearModel(mean, basis, modes.variance, np.array([unexplained / len(mean)]))


@dataclass(frozen=True)
class Modes:
    """Principal components of samples together with their mirror images, as combinations of the samples.

    A face and its mirror image are equally likely, so every sample counts twice. The covariance then splits into an
    even part (symmetric faces) and an odd part (asymmetries): two small eigenproblems instead of one twice as large, a
    mean that is exactly symmetric, and components each of which is symmetric or antisymmetric. `even` (n, E) and `odd`
    (n, O) are weights of the samples; `from_even` (E + O,) tells which ones the components of falling `variance` have.
    """

    even: np.ndarray
    odd: np.ndarray
    variance: np.ndarray
    from_even: np.ndarray
    total_variance: float

    def assemble(self, even, odd):
        """Put bases (D, E) and (D, O) side by side in falling order of variance: (D, components)."""
        basis = np.zeros((len(even), len(self.variance)), np.float32)
        basis[:, np.flatnonzero(self.from_even)] = even
        basis[:, np.flatnonzero(~self.from_even)] = odd
        return basis


def mirrored_modes(even_gram, odd_gram, even_freedom, odd_freedom, components):
    """Find the leading `Modes` from inner products (n, n) of even and odd parts and their degrees of freedom."""
    even_values, even_vectors = _eigen(even_gram / even_freedom)
    odd_values, odd_vectors = _eigen(odd_gram / odd_freedom)
    values = np.concatenate([even_values, odd_values])
    ranking = np.argsort(-values, kind="stable")[:components]
    ranking = ranking[values[ranking] > RELATIVE_TOLERANCE * values.max()]
    variance = np.zeros(components)
    variance[: len(ranking)] = values[ranking]
    from_even = ranking < len(even_values)
    even, odd = ranking[from_even], ranking[~from_even] - len(even_values)
    return Modes(
        even=even_vectors[:, even] / np.sqrt(even_freedom * even_values[even]),
        odd=odd_vectors[:, odd] / np.sqrt(odd_freedom * odd_values[odd]),
        variance=variance,
        from_even=from_even,
        total_variance=float(np.clip(values, 0, None).sum()),
    )


def _eigen(gram):
    """Eigenvalues (falling) and vectors, each vector's largest entry positive: signs do not depend on the solver."""
    gram = np.asarray(gram, np.float64)
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    return values, vectors * np.sign(vectors[largest, np.arange(len(values))])
