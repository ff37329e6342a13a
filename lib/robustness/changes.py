"""Changes that make a photograph harder (paper Fig. 6), or a drawing or painting of it (Fig. 7).

Photographs are changed in their pixels; simulated people change pose, light and expression themselves.
"""

import copy
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import lab2rgb, rgb2gray, rgb2lab
from skimage.restoration import denoise_bilateral
from skimage.segmentation import slic
from skimage.transform import resize
from sklearn.cluster import KMeans

from lib.open_model.generator import FaceGenerator
from lib.photos.simulated.camera import FACE_POINTS, simulated_person
from lib.photos.simulated.looks import dress
from lib.rendering.crop import Crop
from lib.rendering.renderer import draw_mesh, frontal_scene

SCARF_COLOUR = (0.27, 0.3, 0.38)
BROW, CHIN, SCARF_END = -0.5, 1.9, 2.8
"""Along the line from the eyes (0) to the mouth (1): where a face begins and ends, and where the scarf does."""
SCARF_HALF_WIDTH = 1.25  # in distances between the eyes
FULL_RESOLUTION = 51.2  # pixels between the eyes at strength 1 of `RESOLUTION`: a simulated photograph's of 256 pixels
EYES_APART = 0.2  # distance between a simulated person's eyes as a share of the photograph's side
LEAST_AMBIENT = 0.2  # share of the light from everywhere that is left when the lamps are farthest round the head
STYLE_SIDE = 256  # pixels that the styles are made for; other pictures scale them by their longer side


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
POSE = Change("pose", "degrees of yaw", 0.0, 60.0)
LIGHT = Change("light", "degrees that the lamps go round the head", 0.0, 100.0)
EXPRESSION = Change("expression", "times a random expression", 0.0, 2.0)
SIMULATED_CHANGES = (POSE, LIGHT, EXPRESSION, OCCLUSION, BLUR, RESOLUTION)


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
        return image**strength  # the tone curve
    raise KeyError(kind)


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


@dataclass(frozen=True)
class SimulatedSubject:
    """A simulated person (`seed`, `number`) who sits still: the same clothes, glasses and expression throughout."""

    generator: FaceGenerator
    seed: int
    number: int
    size: int
    changes = SIMULATED_CHANGES

    @cached_property
    def _drawn(self):
        """Person, looks, displacements of one expression, and the chance that clothes are drawn with."""
        person, looks, rng = simulated_person(self.generator, self.seed, self.number)
        return person, looks, self.generator.expression(rng), rng

    @property
    def points(self):
        """Landmarks `lib.rendering.crop.POINT_NAMES` in pixels, ndarray (4, 2): all photographs are framed alike."""
        return (FACE_POINTS * EYES_APART + 0.5) * self.size

    def photograph(self, kind=None, strength=None):
        """Take one photograph, float32 (size, size, 3), sRGB, under one of `SIMULATED_CHANGES` or (None) as it is."""
        person, looks, displacement, rng = self._drawn
        rng = copy.deepcopy(rng)  # every photograph has the same clothes
        vertices = person.vertices + (strength * displacement if kind == EXPRESSION.name else 0)
        whole = dress(self.generator, person, looks, vertices, 0.0, rng)
        scene = frontal_scene(1)
        if kind == POSE.name:
            scene = replace(scene, angles=torch.tensor([[math.radians(strength), 0.0, 0.0]]))
        if kind == LIGHT.name:
            scene = _turn_lamps(scene, strength)
        crop = Crop(self.size, tuple(map(tuple, (self.points / self.size).tolist())))
        mesh = whole.vertices, whole.albedo, whole.triangles, self.generator.alignment_vertices
        (image,) = draw_mesh(*mesh, scene, crop)
        if kind in (OCCLUSION.name, BLUR.name, RESOLUTION.name):
            image = change_pixels(image, self.points, kind, strength)
        return image.astype(np.float32)


def _turn_lamps(scene, degrees):
    """Turn both lamps about the vertical axis through the head; the light from everywhere fades with the angle."""
    angle = math.radians(degrees)
    turn = torch.tensor(
        [[math.cos(angle), 0.0, -math.sin(angle)], [0.0, 1.0, 0.0], [math.sin(angle), 0.0, math.cos(angle)]]
    )
    left = 1 - (1 - LEAST_AMBIENT) * degrees / LIGHT.largest
    return replace(scene, light_positions=scene.light_positions @ turn, ambient=scene.ambient * left)


def stylise(image, style):
    """Redraw a picture (H, W, 3), sRGB in [0, 1], in one of `STYLES`; the same at every call."""
    return STYLES[style](np.asarray(image, np.float64), max(image.shape[:2]) / STYLE_SIDE).clip(0, 1)


def _cartoon(image, scale):
    """Smooth all but the edges, few levels of lightness, dark lines where it jumps."""
    lab = rgb2lab(denoise_bilateral(image, sigma_color=0.05, sigma_spatial=3 * scale, channel_axis=2))
    edges = np.hypot(*np.gradient(gaussian_filter(lab[..., 0] / 100, 0.7 * scale))) * scale
    lab[..., 0] = np.round(lab[..., 0] / 12) * 12
    return lab2rgb(lab) * (1 - 0.85 * np.clip((edges - 0.03) / 0.05, 0, 1))[..., None]


def _pencil(image, scale):
    """Divide brightness by its blurred self ("colour dodge"): lines stay, areas become paper."""
    grey = rgb2gray(image)
    drawn = np.clip(grey / np.maximum(gaussian_filter(grey, 5 * scale), 0.05), 0, 1) ** 2.5
    return np.repeat((0.75 * drawn + 0.25 * grey**0.6)[..., None], 3, axis=2)


def _mosaic(image, scale):
    """Superpixels of one colour each."""
    tiles = slic(image, n_segments=1500, compactness=8, sigma=0.5 * scale, start_label=0, channel_axis=2)
    count = np.bincount(tiles.ravel())
    colours = [np.bincount(tiles.ravel(), channel) / count for channel in image.reshape(-1, 3).T]
    return np.stack(colours, 1)[tiles]


def _poster(image, scale):
    """Five inks chosen for the picture (k-means), laid on in flat areas."""
    smooth = gaussian_filter(image, (1.2 * scale, 1.2 * scale, 0))
    pixels = smooth.reshape(-1, 3)
    inks = KMeans(5, n_init=1, random_state=0).fit(pixels[:: max(1, len(pixels) // 20_000)])
    vivid = inks.cluster_centers_.mean(1, keepdims=True)
    vivid = vivid + 1.5 * (inks.cluster_centers_ - vivid)
    return vivid[inks.predict(pixels)].reshape(image.shape)


def _halftone(image, scale):
    """Black dots on a raster turned by 45 degrees, larger where the picture is darker, as in newspapers."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    period = 4.5 * scale
    u, v = (x + y) * np.pi / period / np.sqrt(2), (x - y) * np.pi / period / np.sqrt(2)
    raster = 0.5 + 0.25 * (np.cos(2 * u) + np.cos(2 * v))
    grey = gaussian_filter(rgb2gray(image), 0.6 * scale)
    return np.repeat(np.clip(0.5 + 3 * (grey - raster), 0, 1)[..., None], 3, axis=2)


STYLES = {"cartoon": _cartoon, "pencil": _pencil, "mosaic": _mosaic, "poster": _poster, "halftone": _halftone}
