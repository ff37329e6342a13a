"""A scene without its face: pose, lights, their colours, the background (paper 3.2.1, 3.2.2)."""

import math
from dataclasses import dataclass

import torch

from lib.core.tensors import Batch, constant

CHROMATICITIES = {
    "incandescent lamp (CIE A, 2856 K)": (0.44758, 0.40745),
    "warm LED (CIE LED-B1, 2733 K)": (0.4560, 0.4078),
    "warm white fluorescent (CIE FL12, 3000 K)": (0.43695, 0.40441),
    "neutral LED (CIE LED-B3, 4103 K)": (0.3756, 0.3723),
    "white fluorescent (CIE FL11, 4000 K)": (0.38052, 0.37713),
    "cool white fluorescent (CIE FL2, 4230 K)": (0.37208, 0.37529),
    "sun and sky at the horizon (CIE D50, 5003 K)": (0.34567, 0.35850),
    "mid-morning daylight (CIE D55, 5503 K)": (0.33242, 0.34743),
    "noon daylight (CIE D65, 6504 K)": (0.31271, 0.32902),
    "north sky (CIE D75, 7504 K)": (0.29902, 0.31485),
}
"""CIE 1931 chromaticities (x, y) of common indoor and outdoor light: CIE 015:2018, Colorimetry, tables of standard
illuminants and of representative fluorescent and LED lamps."""

_LINEAR_SRGB_FROM_XYZ = torch.tensor(
    [[3.2406255, -1.5372080, -0.4986286], [-0.9689307, 1.8757561, 0.0415175], [0.0557101, -0.2040211, 1.0569959]]
)
_LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])
CONTROL_COLOURS = 6


@dataclass(frozen=True)
class Scene(Batch):
    """S pictures' poses, lights and backgrounds; plain tensors, so that a scene can be kept and drawn again."""

    angles: torch.Tensor  # (S, 3): yaw, pitch, roll in radians (`lib.rendering.camera.rotation_matrices`)
    distance: torch.Tensor  # (S,): from the camera to the face, mm
    light_positions: torch.Tensor  # (S, L, 3): camera frame, mm
    light_colours: torch.Tensor  # (S, L, 3), linear sRGB: what a white surface that faces the lamp reflects; 1 is white
    ambient: torch.Tensor  # (S, 3): the same for the light from everywhere
    background: torch.Tensor  # (S, 3, 6, 6), sRGB in [0, 1]: control colours of a smooth (Bezier) patch, row 0 on top
    # (S, 4), how the face is moved from its exact place in the crop: to the right and up as shares of the crop's side,
    # grown by a share, turned counter-clockwise in radians; zeros for the exact place
    framing: torch.Tensor


@dataclass(frozen=True)
class SceneDistribution:
    """Ranges (least, most) that random scenes are drawn from, uniformly; the first fields as in `params.yaml`."""

    yaw_degrees: float = 30.0  # largest angle to either side
    pitch_degrees: float = 15.0
    roll_degrees: float = 5.0  # the crop turns it back: it moves the lights about the face
    distance_mm: tuple[float, float] = (600.0, 1500.0)  # of the camera: 60 cm is a selfie, 1.5 m a portrait
    # mm, of each of the two lights in the camera's frame: "several meters from the face" (paper 3.2.2)
    light_x: tuple[float, float] = (-3000.0, 3000.0)
    light_y: tuple[float, float] = (-1000.0, 3000.0)
    light_z: tuple[float, float] = (1500.0, 4000.0)
    exposure: tuple[float, float] = (1.0, 1.6)  # light reflected by a white surface that faces all lights; 1 is white
    ambient_share: tuple[float, float] = (0.25, 0.5)  # part of the exposure that comes from everywhere
    key_share: tuple[float, float] = (0.3, 0.7)  # part of the lamps' light from the first lamp: "varying intensity"
    # how much of the light's colour the camera has taken out: 0 nothing, 1 all (a power of the three channels)
    white_balance: tuple[float, float] = (0.5, 1.0)
    tint: float = 0.08  # largest random factor - 1 on each channel: "and perturb the color to avoid overfitting"
    random_backgrounds: bool = True  # a colour, a gradient or clouds of colours; else the wall of `frontal_scene`
    # largest random changes of the framing to either side (`Scene.framing`)
    crop_shift: float = 0.0
    crop_scale: float = 0.0
    crop_roll: float = 0.0


def light_source_colours():
    """Linear sRGB colours (10, 3) of `CHROMATICITIES`, scaled to luminance 1."""
    x, y = torch.tensor(list(CHROMATICITIES.values())).unbind(1)
    colours = torch.stack([x / y, torch.ones_like(x), (1 - x - y) / y], 1) @ _LINEAR_SRGB_FROM_XYZ.T
    return colours / (colours @ _LUMINANCE)[:, None]


def sample_scenes(count, generator, distribution=None):
    """Draw `count` random scenes of two lights from a `SceneDistribution` (None: its defaults), on the CPU."""
    ranges = distribution or SceneDistribution()

    def uniform(limits, *shape):
        return limits[0] + (limits[1] - limits[0]) * torch.rand(count, *shape, generator=generator)

    limits = map(math.radians, (ranges.yaw_degrees, ranges.pitch_degrees, ranges.roll_degrees))
    angles = torch.stack([uniform((-limit, limit)) for limit in limits], 1)
    positions = torch.stack([uniform(axis, 2) for axis in (ranges.light_x, ranges.light_y, ranges.light_z)], 2)
    exposure, ambient_share, key_share = (
        uniform(limits, 1) for limits in (ranges.exposure, ranges.ambient_share, ranges.key_share)
    )
    sources = light_source_colours()
    source = sources[torch.randint(len(sources), (count,), generator=generator)]
    colour = source ** (1 - uniform(ranges.white_balance, 1)) * uniform((1 - ranges.tint, 1 + ranges.tint), 3)
    colour = exposure * colour / (colour @ _LUMINANCE)[:, None]
    lamps = torch.stack([key_share, 1 - key_share], 1) * (1 - ambient_share)[:, None]
    return Scene(
        angles=angles,
        distance=uniform(ranges.distance_mm),
        light_positions=positions,
        light_colours=lamps * colour[:, None],
        ambient=ambient_share * colour,
        background=_random_backgrounds(count, generator) if ranges.random_backgrounds else _grey_wall(count),
        framing=_random_framing(count, generator, ranges),
    )


def frontal_scene(count):
    """Return `count` times the neutral studio of the evaluation: frontal, two soft symmetric lights, a grey wall."""
    lights = torch.tensor([[-1500.0, 1000.0, 2500.0], [1500.0, 1000.0, 2500.0]])
    return Scene(
        angles=torch.zeros(count, 3),
        distance=torch.full((count,), 1000.0),
        light_positions=lights.repeat(count, 1, 1),
        light_colours=torch.full((count, 2, 3), 0.4),
        ambient=torch.full((count, 3), 0.4),
        background=_grey_wall(count),
        framing=torch.zeros(count, 4),
    )


def background_pictures(background, size):
    """Draw smooth backgrounds: control colours (S, 3, G, G) to pictures (S, 3, size, size), within the same range."""
    degree = background.shape[-1] - 1
    place = ((torch.arange(size, device=background.device) + 0.5) / size)[:, None]
    power = torch.arange(degree + 1, device=background.device)
    ways = constant(tuple(math.comb(degree, k) for k in range(degree + 1)), background.device)
    weights = ways * place**power * (1 - place) ** (degree - power)
    return weights @ background @ weights.T


def _grey_wall(count):
    return torch.full((count, 3, CONTROL_COLOURS, CONTROL_COLOURS), 0.5)


def _random_framing(count, generator, ranges):
    limits = torch.tensor([ranges.crop_shift, ranges.crop_shift, ranges.crop_scale, ranges.crop_roll])
    return limits * (2 * torch.rand(count, 4, generator=generator) - 1) if limits.any() else torch.zeros(count, 4)


def _random_backgrounds(count, generator):
    """A third of one colour, a third from one colour to another across the picture, a third clouds of colours."""

    # walls and gardens are less gaudy than random channels
    vividness = torch.rand(count, 1, 1, 1, generator=generator)

    def colours(*shape):
        grey = torch.rand(count, 1, *shape, generator=generator)
        return grey + vividness * (torch.rand(count, 3, *shape, generator=generator) - grey)

    kind = torch.randint(3, (count, 1, 1, 1), generator=generator)
    plain = colours(1, 1).expand(-1, -1, CONTROL_COLOURS, CONTROL_COLOURS)
    steps = torch.linspace(0, 1, CONTROL_COLOURS)
    direction = torch.rand(count, 1, 2, 1, 1, generator=generator)
    way = (direction[:, :, 0] * steps[:, None] + direction[:, :, 1] * steps) / direction.sum(2)
    gradient = plain + (colours(1, 1) - plain) * way
    return torch.where(kind == 0, plain, torch.where(kind == 1, gradient, colours(CONTROL_COLOURS, CONTROL_COLOURS)))
