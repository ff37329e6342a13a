"""Published colours of human faces beside the model's, in CIELAB (D65, 2-degree observer).

Sources of `skin_tables`, all measured with spectrophotometers that include the reflection of the surface:

- `groups.csv`, means and standard deviations: K. Xiao et al., "Characterising the variations in ethnic skin colours: a
  new calibrated data base for human skin", Skin Research and Technology 23 (2017), and for Africans the International
  Skin Spectra Archive (ISSA): Y. Lu et al., Scientific Data 12 (2025), data under CC BY 4.0 (median L* of the readings
  of faces; a* and b* of the archive's medians at this L*; spread of L* from the readings per class of `medians.csv`);
- `medians.csv`, medians of ISSA's foreheads and cheeks within 4 degrees of an individual typology angle, and
  `gamut.csv`, percentiles 10 and 90 of a* and b* within 3 units of L*: as derived from the archive by the project
  humanoid-kit. Lightest and darkest reading: L* 74.0 and 22.7;
- `lips.csv`, how lips differ from the skin of the same face: measured by `derivations/lip_survey.py`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.color import rgb2lab

from lib.open_model.mesh import Part
from lib.open_model.paint import paint_person
from lib.open_model.shape import ANCESTRIES

TABLES = Path(__file__).with_name("skin_tables")
DARKEST, LIGHTEST = 22.7, 74.0


def published_groups():
    """Mean and standard deviation of each ancestry, populations and sites averaged: table (3, 6) by `ANCESTRIES`."""
    groups = pd.read_csv(TABLES / "groups.csv").groupby("ancestry")
    return groups.mean(numeric_only=True).drop(columns="people").loc[list(ANCESTRIES)]


def model_groups(generator, people, random):
    """Draw people of one ancestry each and measure them.

    Parameters
    ----------
    generator : FaceGenerator
    people : int
        Of each ancestry.
    random : numpy.random.Generator

    Returns
    -------
    dict of str to ndarray (people, 3)
        CIELAB of each person's skin (`measure_skin`) by `ANCESTRIES`.
    """
    return {
        name: np.stack([_measure_one(generator, tuple(weights), random) for _ in range(people)])
        for name, weights in zip(ANCESTRIES, np.eye(len(ANCESTRIES)).tolist(), strict=True)
    }


def _measure_one(generator, ancestry, random):
    traits = replace(generator.parts.shapes.sample_traits(random), ancestry=ancestry)
    return measure_skin(generator.maps, paint_person(generator.maps, traits, random))


def measure_skin(maps, albedo):
    """CIELAB (..., 3) of faces' albedo (..., N, 3): the mean of forehead and cheeks, in the open and without hair."""
    bare = (maps.part == Part.SKIN) & (maps.openness > 0.9) & (maps.eyelids < 0.05)
    forehead, cheeks = (bare & site for site in (maps.forehead * (maps.across < 25) > 0.9, maps.cheeks > 0.6))
    return np.mean([rgb2lab(albedo[..., site, :]).mean(axis=-2) for site in (forehead, cheeks)], axis=0)


def lip_contrast(maps, albedo):
    """CIELAB (..., 3) of the lips of faces' albedo (..., N, 3) less that of their skin (`measure_skin`)."""
    lips = (maps.lips > 0.8) & (maps.part == Part.SKIN) & (maps.openness > 0.6)
    return rgb2lab(albedo[..., lips, :]).mean(axis=-2) - measure_skin(maps, albedo)


def gamut_beside(colours):
    """Table of human percentiles 10 and 90 of a* and b* by L*, and those of colours (n, 3) within 6 of that L*."""
    gamut = pd.read_csv(TABLES / "gamut.csv").set_index("L")
    for lightness in gamut.index:
        near = colours[np.abs(colours[:, 0] - lightness) < 6]
        values = np.quantile(near[:, 1:], [0.1, 0.9], axis=0).T.ravel() if len(near) else np.full(4, np.nan)
        gamut.loc[lightness, ["model_a_p10", "model_a_p90", "model_b_p10", "model_b_p90", "faces"]] = *values, len(near)
    return gamut.round(1)


def outside_gamut(colours):
    """Distance (n,) in CIELAB of colours (n, 3) from the percentiles 10 to 90 of human skin of the same L*."""
    gamut = pd.read_csv(TABLES / "gamut.csv")
    lightness = colours[:, 0]
    excess = [np.maximum(np.maximum(DARKEST - lightness, lightness - LIGHTEST), 0)]
    for channel, name in ((1, "a"), (2, "b")):
        low, high = (np.interp(lightness, gamut["L"], gamut[f"{name}_{edge}"]) for edge in ("p10", "p90"))
        excess.append(np.maximum(np.maximum(low - colours[:, channel], colours[:, channel] - high), 0))
    return np.linalg.norm(excess, axis=0)
