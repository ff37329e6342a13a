"""Colour of skin from two quantities: the share of melanin in the epidermis and the share of blood in the dermis.

`derivations/skin_colours.py` computes it from published spectra, in daylight.
"""

from functools import cache
from pathlib import Path

import numpy as np

LOG_MELANIN = np.linspace(np.log(0.003), np.log(0.8), 60)
LARGEST_BLOOD = 0.45
BLOOD_STEPS = 50
COLOURS = Path(__file__).with_name("skin_colours.npz")
"""sRGB in [0, 1], float32, (60, 50, 3): at each of `LOG_MELANIN` and, in steps of equal size of its square root, shares
of blood from 0 to `LARGEST_BLOOD`."""


def look_up_skin_colour(log_melanin, blood):
    """Look up the colour of skin (N, 3), sRGB-encoded, float32, bilinearly in the table.

    `log_melanin` (N,) is the logarithm of the volume fraction of melanosomes in the epidermis, about 0.03 (very light)
    to 0.6 (very dark), `blood` (N,) the fraction of blood in the dermis, about 0.01 to 0.1.
    """
    table = _table()
    row = (log_melanin - LOG_MELANIN[0]) / (LOG_MELANIN[1] - LOG_MELANIN[0])
    row = np.clip(row, 0, len(LOG_MELANIN) - 1.001)
    column = np.sqrt(np.clip(blood, 0, LARGEST_BLOOD) / LARGEST_BLOOD) * (BLOOD_STEPS - 1)
    column = np.clip(column, 0, BLOOD_STEPS - 1.001)
    i, j = row.astype(np.int32), column.astype(np.int32)
    u, v = (row - i).astype(np.float32)[:, None], (column - j).astype(np.float32)[:, None]
    upper = (1 - v) * table[i, j] + v * table[i, j + 1]
    lower = (1 - v) * table[i + 1, j] + v * table[i + 1, j + 1]
    return (1 - u) * upper + u * lower


@cache
def _table():
    with np.load(COLOURS) as file:
        return file["colours"]
