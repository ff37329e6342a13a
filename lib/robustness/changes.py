"""Changes of a photograph's pixels that make it harder: occlusion, blur, resolution, darkness, a hard tone curve.

For the stress test of photographs whose person cannot be photographed again (paper Fig. 6, section 4.5); simulated
people change pose, light and expression themselves (`lib.robustness.simulated`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.transform import resize

SCARF_COLOUR = (0.27, 0.3, 0.38)
BROW, CHIN, SCARF_END = -0.5, 1.9, 2.8
"""Along the line from the eyes (0) to the mouth (1): where a face begins and ends, and where the scarf does."""
SCARF_HALF_WIDTH = 1.25  # in distances between the eyes
FULL_RESOLUTION = 51.2  # pixels between the eyes at strength 1 of `RESOLUTION`: a simulated photograph's of 256 pixels


@dataclass(frozen=True)
class Change:
    """One kind of change: the strength that changes nothing and the strongest one, in `unit`."""

    name: str
    unit: str
    none: float
    largest: float

    def strengths(self, steps):
        """Return `steps` strengths in even steps up to the largest, as a list of float."""
        return np.linspace(self.none, self.largest, steps + 1)[1:].round(6).tolist()


OCCLUSION = Change("occlusion", "share of the face covered", 0.0, 0.6)
BLUR = Change("blur", "σ as a share of the distance between the eyes", 0.0, 0.16)
RESOLUTION = Change("resolution", "times fewer pixels a side", 1.0, 6.0)
DARKNESS = Change("darkness", "stops less light", 0.0, 5.0)
GAMMA = Change("gamma", "exponent of the tone curve", 1.0, 4.0)
PIXEL_CHANGES = (OCCLUSION, BLUR, RESOLUTION, DARKNESS, GAMMA)


def change_pixels(image, points, kind, strength):
    """Change a photograph (H, W, 3), sRGB in [0, 1], with landmarks (4, 2) in pixels, by one of `PIXEL_CHANGES`."""
    if kind == OCCLUSION.name:
        return _cover(image, points, strength)
    if kind == BLUR.name:
        sigma = strength * np.linalg.norm(points[1] - points[0])
        return gaussian_filter(image, (sigma, sigma, 0))
    if kind == RESOLUTION.name:
        # of every photograph as many pixels are left on the face; where it has fewer, it stays as it is
        shrink = min(1.0, FULL_RESOLUTION / np.linalg.norm(points[1] - points[0]) / strength)
        small = [max(1, round(side * shrink)) for side in image.shape[:2]]
        return resize(resize(image, small, anti_aliasing=True), image.shape[:2])
    if kind == DARKNESS.name:
        # light is proportional to about the 2.2th power of sRGB; 8 bits are all that a photograph keeps of it
        return np.rint(image * 2 ** (-strength / 2.2) * 255) / 255
    if kind == GAMMA.name:
        return image**strength
    raise ValueError(f"{kind!r} is no change of pixels: {', '.join(change.name for change in PIXEL_CHANGES)}")


def _cover(image, points, share):
    """Draw a scarf of one colour from below the chin up to a share of the height from chin to brow."""
    eyes, mouth = points[:2].mean(0), points[2:].mean(0)
    down = mouth - eyes
    across = np.array([down[1], -down[0]]) / np.linalg.norm(down)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    offset = np.stack([x, y], -1) - eyes
    along = offset @ down / (down @ down)
    beside = np.abs(offset @ across) / np.linalg.norm(points[1] - points[0])
    top = CHIN - share * (CHIN - BROW)
    covered = (along > top) & (along < SCARF_END) & (beside < SCARF_HALF_WIDTH) & (share > 0)
    return np.where(covered[..., None], np.asarray(SCARF_COLOUR, image.dtype), image)
