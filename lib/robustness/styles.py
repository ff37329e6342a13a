"""Photographs as drawings and paintings: input that is not a photograph (paper Fig. 7).

The paper takes works of art from BAM; these filters make something of the kind from any photograph.
"""

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.color import lab2rgb, rgb2gray, rgb2lab
from skimage.restoration import denoise_bilateral
from skimage.segmentation import slic
from sklearn.cluster import KMeans

SIDE = 256  # pixels that the strengths below are made for; other pictures scale them by their longer side


def stylise(image, style):
    """Redraw a picture (H, W, 3), sRGB in [0, 1], in one of `STYLES`; the same at every call."""
    return STYLES[style](np.asarray(image, np.float64), max(image.shape[:2]) / SIDE).clip(0, 1)


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
