"""How a simulated person looks besides the face: what stays (skull, hair) and what changes between photographs."""

from dataclasses import dataclass

import numpy as np

from lib.open_model.parts import Part
from lib.photos.simulated.hair import HairStyle, hair, sample_covering, sample_hair_style, skull, skull_radii
from lib.photos.simulated.mesh import Mesh, join
from lib.photos.simulated.wear import body, glasses

WEARS_GLASSES, LEAVES_THEM_OFF = 0.35, 0.3
WEARS_COVERING = 0.14


@dataclass(frozen=True)
class Looks:
    """What a person keeps from one photograph to the next.

    Attributes
    ----------
    bare : Mesh
        The skull.
    hair : Mesh or None
        None: bald.
    skin_colour : ndarray (3,)
    radii : ndarray
        Of the skull, see `lib.photos.simulated.hair.skull_radii`.
    wears_glasses : bool
    glasses_seed : int
        The same pair on every photograph.
    """

    bare: Mesh
    hair: Mesh | None
    skin_colour: np.ndarray
    radii: np.ndarray
    wears_glasses: bool
    glasses_seed: int


def sample_looks(generator, person, random):
    """Draw what belongs to a person: a skull that fits the face, hair of the brows' colour, perhaps glasses.

    Parameters
    ----------
    generator : lib.open_model.generator.FaceGenerator
    person : lib.open_model.generator.Person
    random : numpy.random.Generator

    Returns
    -------
    Looks
    """
    skin, vertices = _outer_skin(generator), person.vertices
    radii, face = skull_radii(vertices[skin])
    edge = skin & (vertices[:, 1] > np.quantile(vertices[skin, 1], 0.93))
    skin_colour = np.median(person.albedo[edge], axis=0)
    style = sample_hair_style(person.group["gender"], person.group["age"], random)
    colour = _brow_colour(generator, person, skin) * random.uniform(0.75, 1.15)
    grown = None if style is None else hair(style, radii, colour, random)
    wears = random.random() < WEARS_GLASSES * (0.7 + person.group["age"] / 130)
    return Looks(skull(radii, face, skin_colour), grown, skin_colour, radii, wears, int(random.integers(2**31)))


def dress(generator, person, looks, vertices, sunglasses, random):
    """Put a face on a body for one photograph.

    Parameters
    ----------
    generator, person, looks
        As of `sample_looks`.
    vertices : ndarray (N, 3)
        The face with its expression, mm.
    sunglasses : float
        Chance of dark lenses.
    random : numpy.random.Generator

    Returns
    -------
    Mesh
        The face's vertices come first.
    """
    parts = [Mesh(vertices, person.albedo, generator.triangles), looks.bare]
    cloth, fabric = (_cloth_colour(random) for _ in range(2))
    neck_colour = None
    if random.random() < WEARS_COVERING:
        covering: HairStyle = sample_covering(person.group["gender"], random)
        parts.append(hair(covering, looks.radii, fabric, random))
        neck_colour = fabric if covering.curtain else None
    elif looks.hair is not None:
        parts.append(looks.hair)
    dark = random.random() < sunglasses
    if dark or (looks.wears_glasses and random.random() > LEAVES_THEM_OFF):
        parts.append(_glasses_of(generator, person, looks, dark))
    chin = person.vertices[generator.landmarks["center.chin.tip"]]
    broad = float(person.group["gender"] == "male")
    parts.append(body(chin, 0.93 * looks.skin_colour, cloth, broad, random, neck_colour))
    return join(parts)


def _cloth_colour(random):
    grey, colour = random.uniform(0.04, 0.75), random.normal(0, 0.1, 3)
    return np.clip(grey + colour, 0.02, 0.85)


def _glasses_of(generator, person, looks, dark):
    landmarks, vertices = generator.landmarks, person.vertices
    eyes = vertices[[landmarks[f"{side}.eye.pupil.center"] for side in ("right", "left")]]
    between = (np.abs(vertices[:, 0]) < 10) & (np.abs(vertices[:, 1] - eyes[:, 1].mean()) < 6)
    bridge = vertices[between][vertices[between, 2].argmax()]
    flank = vertices[(np.abs(vertices[:, 1] - eyes[:, 1].mean()) < 12) & (vertices[:, 2] > 0) & (vertices[:, 2] < 35)]
    half_width = np.abs(flank[:, 0]).max() + 2
    return glasses(eyes, bridge, half_width, np.random.default_rng(looks.glasses_seed), dark)


def _outer_skin(generator):
    return (generator.maps.part == Part.SKIN) & (generator.maps.ears < 0.2)


def _brow_colour(generator, person, skin):
    """Colour of the darkest tenth of the skin where the brows are."""
    x, y, _ = person.vertices.T
    eyes = person.vertices[generator.landmarks["right.eye.pupil.center"]]
    brows = skin & (np.abs(y - eyes[1] - 20) < 9) & (np.abs(np.abs(x) - 30) < 16)
    albedo = person.albedo[brows]
    darkest = albedo[albedo.sum(1) <= np.quantile(albedo.sum(1), 0.1)]
    return np.median(darkest, axis=0)
