"""Derive `lib/open_model/skin_colours.npz`, the colour of skin by its shares of melanin and blood, from spectra.

Light crosses the epidermis twice (Beer-Lambert) and returns from a semi-infinite dermis (Kubelka-Munk), the structure
of Preece & Claridge (2002) and of BioFaceMaps (Alotaibi & Smith 2017).

Sources of the numbers:

- absorption of melanosomes at 500 nm, 519 per cm: S. L. Jacques, "Optical properties of biological tissues: a review",
  Phys. Med. Biol. 58 (2013) R37; how it falls with the wavelength (`MELANIN_EXPONENT`) and `SURFACE_REFLECTION` are
  fitted to measured skin; bloodless skin 7.84e8 L^-3.255 per cm and reduced scattering
  2e12 L^-4 + 2e5 L^-1.5 per cm: S. L. Jacques, "Skin Optics", Oregon Medical Laser Center News, 1998 (L in nm);
- molar extinction of haemoglobin: S. Prahl's compilation of data by W. B. Gratzer and N. Kollias, Oregon Medical Laser
  Center, omlc.org/spectra/hemoglobin;
- daylight: CIE standard illuminant D65 (ISO 11664-2), relative spectral power;
- observer: analytic fit of the CIE 1931 2-degree observer by Wyman, Sloan & Shirley, J. Computer Graphics Techniques 2
  (2013); sRGB: IEC 61966-2-1.

In a second, after an edit here or of the places in `lib/open_model/skin.py`:

    python -m derivations.skin_colours
"""

import numpy as np

from lib.core.pictures import encode_srgb
from lib.open_model.skin import BLOOD_STEPS, COLOURS, LARGEST_BLOOD, LOG_MELANIN

WAVELENGTHS = np.arange(400.0, 701.0, 10.0)
OXYHAEMOGLOBIN = np.array([
    266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209.2, 26629.2, 23684.4, 20932.8, 20035.2, 24202.4,
    39956.8, 53236, 43016, 32613.2, 44496, 50104, 14400.8, 3200, 1506, 942, 610, 442, 368, 319.6, 294, 277.6, 276, 290,
])  # fmt: skip
DEOXYHAEMOGLOBIN = np.array([
    223296, 303956, 407560, 528600, 413280, 103292, 23388.8, 16156.4, 14550, 16684, 20862, 25773.6, 31589.6, 39036.4,
    46592, 53412, 53788, 45072, 37020, 28324.4, 14677.2, 9443.6, 6509.6, 5148.8, 4345.2, 3750.12, 3226.56, 2795.12,
    2407.92, 2051.96, 1794.28,
])  # fmt: skip
DAYLIGHT = np.array([
    82.755, 91.486, 93.432, 86.682, 104.865, 117.008, 117.812, 114.861, 115.923, 108.811, 109.354, 107.802, 104.790,
    107.689, 104.405, 104.046, 100.000, 96.334, 95.788, 88.686, 90.006, 89.599, 87.699, 83.289, 83.699, 80.027, 80.215,
    82.278, 78.284, 69.721, 71.609,
])  # fmt: skip
XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
WHITE = np.array([0.9505, 1.0, 1.0890])

OXYGEN_SATURATION = 0.75
EPIDERMIS_CENTIMETRES = 0.006
HAEMOGLOBIN_GRAMS_PER_LITRE, HAEMOGLOBIN_GRAMS_PER_MOLE = 150, 64500
SURFACE_REFLECTION = 0.05
"""Light that the surface of the skin returns uncoloured: 4 to 7 % (Anderson & Parrish, J. Invest. Dermatol. 77, 1981).
Spectrophotometers measure it with the skin's colour."""
MELANIN_EXPONENT = 2.4
"""Jacques has 3 for melanosomes in suspension; so steep a fall makes dark skin orange. 2.4 follows the measured medians
from the lightest to the darkest skin within 1.6 units of CIELAB (tests/test_skin_survey.py)."""


def skin_colour(melanin, blood):
    """Compute the colour of skin in daylight, (..., 3), sRGB-encoded in [0, 1].

    `melanin` (...) is the volume fraction of melanosomes in the epidermis, about 0.03 (very light) to 0.6 (very dark),
    `blood` (...) that of blood in the dermis, about 0.01 to 0.1.
    """
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    bloodless = 7.84e8 * WAVELENGTHS**-3.255
    epidermis = melanin * 519 * (WAVELENGTHS / 500) ** -MELANIN_EXPONENT + (1 - melanin) * bloodless
    transmitted = np.exp(-2 * EPIDERMIS_CENTIMETRES * epidermis)
    extinction = OXYGEN_SATURATION * OXYHAEMOGLOBIN + (1 - OXYGEN_SATURATION) * DEOXYHAEMOGLOBIN
    whole_blood = 2.303 * extinction * HAEMOGLOBIN_GRAMS_PER_LITRE / HAEMOGLOBIN_GRAMS_PER_MOLE
    absorption = blood * whole_blood + (1 - blood) * bloodless
    scattering = 2e12 * WAVELENGTHS**-4 + 2e5 * WAVELENGTHS**-1.5
    # Kubelka-Munk: K = 2 mu_a, S = 3/4 mu_s' - 1/4 mu_a
    ratio = 2 * absorption / np.maximum(0.75 * scattering - 0.25 * absorption, 1e-3)
    dermis = 1 + ratio - np.sqrt(ratio * ratio + 2 * ratio)
    reflectance = SURFACE_REFLECTION + (1 - SURFACE_REFLECTION) * transmitted * dermis
    seen = _observer() * DAYLIGHT
    xyz = (reflectance[..., None, :] * seen).sum(axis=-1) / seen.sum(axis=1) * WHITE
    return encode_srgb(xyz @ XYZ_TO_SRGB.T)


def colour_table():
    """`skin_colour` at the places of the table, (60, 50, 3), float32."""
    blood = np.linspace(0, 1, BLOOD_STEPS) ** 2 * LARGEST_BLOOD
    return skin_colour(np.exp(LOG_MELANIN)[:, None], blood).astype(np.float32)


def _observer():
    """Wyman, Sloan & Shirley's sums of lobes for x, y and z, (3, wavelengths)."""

    def lobe(height, peak, left, right):
        width = np.where(peak > WAVELENGTHS, left, right)
        return height * np.exp(-0.5 * ((WAVELENGTHS - peak) * width) ** 2)

    return np.stack([
        lobe(0.362, 442.0, 0.0624, 0.0374) + lobe(1.056, 599.8, 0.0264, 0.0323) + lobe(-0.065, 501.1, 0.0490, 0.0382),
        lobe(0.821, 568.8, 0.0213, 0.0247) + lobe(0.286, 530.9, 0.0613, 0.0322),
        lobe(1.217, 437.0, 0.0845, 0.0278) + lobe(0.681, 459.0, 0.0385, 0.0725),
    ])  # fmt: skip


if __name__ == "__main__":
    np.savez_compressed(COLOURS, colours=colour_table())
