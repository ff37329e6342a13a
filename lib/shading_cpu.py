"""`lib.shading.shade` for the CPU: one pass over the pixels forward, one backward, a picture a thread.

In torch each of some sixty elementwise steps would stream full-size pictures through memory, three times as slow as
rasterising. The formulas are those of `lib.shading.phong`, which the tests hold these kernels against.
"""

import numpy as np
import torch
from numba import njit

from lib.parallel import for_each

_kernel = njit(nogil=True, cache=True, error_model="numpy", fastmath={"nsz", "arcp", "contract", "reassoc"})
_inlined = njit(inline="always", fastmath={"nsz", "arcp", "contract", "reassoc"})
f32, f64, u64 = np.float32, np.float64, np.uint64
_ZERO, _ONE = f32(0), f32(1)


@_inlined
def _decode(value):
    """Linear light of an sRGB value and the slope of the curve, 0 where it is cut off.

    The curved part is a polynomial (Chebyshev interpolation on [0.04045, 1]) within 1e-5 of the standard's power
    2.4, which moves a picture by no more than 1e-4: powers would take half the time of the shading.
    """
    v = min(max(value, _ZERO), _ONE)
    slope = f32(1 / 12.92)
    linear = v * slope
    if v > f32(0.04045):
        a0, a1, a2, a3 = f32(9.3114545e-4), f32(3.2632530e-2), f32(5.1585770e-1), f32(7.0087075e-1)
        a4, a5, a6 = f32(-4.0627095e-1), f32(2.0313659e-1), f32(-4.7160581e-2)
        linear = a0 + v * (a1 + v * (a2 + v * (a3 + v * (a4 + v * (a5 + v * a6)))))
        slope = a1 + v * (f32(2) * a2 + v * (f32(3) * a3 + v * (f32(4) * a4 + v * (f32(5) * a5 + v * f32(6) * a6))))
    return linear, slope if v == value else _ZERO


@_inlined
def _encode(linear):
    """sRGB value of linear light; the curved part, in the fourth root of the light, within 1e-5 as well."""
    linear = min(max(linear, _ZERO), _ONE)
    if linear <= f32(0.0031308):
        return linear * f32(12.92)
    r = np.sqrt(np.sqrt(linear))
    a0, a1, a2, a3 = f32(-6.1629705e-2), f32(1.6497400e-1), f32(1.2442139), f32(-5.5755568e-1)
    a4, a5 = f32(2.7275226e-1), f32(-6.2758990e-2)
    return min(a0 + r * (a1 + r * (a2 + r * (a3 + r * (a4 + r * a5)))), _ONE)


@_inlined
def _encode_slope(linear, encoded):
    """Slope of `_encode`, from its result: no second power."""
    if (linear < _ZERO) | (linear > _ONE):
        return _ZERO
    return f32(12.92) if linear <= f32(0.0031308) else (encoded + f32(0.055)) / (f32(2.4) * linear)


@_inlined
def _unit(x, y, z):
    """The direction of a vector and one over its length."""
    inverse = _ONE / max(np.sqrt(x * x + y * y + z * z), f32(1e-12))
    return x * inverse, y * inverse, z * inverse, inverse


@_inlined
def _sixteenth_power(x):
    x2 = x * x
    x4 = x2 * x2
    x8 = x4 * x4
    return x8 * x8


@_kernel
def _shade(attributes, ids, lamps, ambient, eye, background, specular, linear, picture):
    """Fill `picture` (3, P) and, for the way back, `linear` (P, 3); lamps (L, 6) are positions and colours."""
    for p in range(len(ids)):
        pixel = u64(p)
        if ids[pixel] < 0:
            for k in range(3):
                picture[k, pixel] = background[k, pixel]
            continue
        here = attributes[pixel]
        red, green, blue = _decode(here[0])[0], _decode(here[1])[0], _decode(here[2])[0]
        nx, ny, nz, _ = _unit(here[3], here[4], here[5])
        ex, ey, ez, _ = _unit(eye[0] - here[6], eye[1] - here[7], eye[2] - here[8])
        facing_eye = nx * ex + ny * ey + nz * ez
        of_red, of_green, of_blue = ambient[0] * red, ambient[1] * green, ambient[2] * blue
        for lamp in range(len(lamps)):
            lx, ly, lz, _ = _unit(lamps[lamp, 0] - here[6], lamps[lamp, 1] - here[7], lamps[lamp, 2] - here[8])
            facing = nx * lx + ny * ly + nz * lz
            if facing > _ZERO:
                mirrored = f32(2) * facing * facing_eye - (lx * ex + ly * ey + lz * ez)
                highlight = specular * _sixteenth_power(max(mirrored, _ZERO))
                of_red += lamps[lamp, 3] * (red * facing + (_ONE - red) * highlight)
                of_green += lamps[lamp, 4] * (green * facing + (_ONE - green) * highlight)
                of_blue += lamps[lamp, 5] * (blue * facing + (_ONE - blue) * highlight)
        linear[pixel, 0], linear[pixel, 1], linear[pixel, 2] = of_red, of_green, of_blue
        for k in range(3):
            picture[k, pixel] = _encode(linear[pixel, k])


@_inlined
def _through_unit(x, y, z, inverse, gx, gy, gz):
    """Gradient of a vector from that of its direction (x, y, z)."""
    along = x * gx + y * gy + z * gz
    return (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse


@_kernel
def _send_back(
    attributes, ids, lamps, ambient, eye, specular, linear, picture, gradient,
    to_attributes, to_lamps, to_ambient, to_eye,
):  # fmt: skip
    """Fill the gradient of the attributes (P, 9) and add to those of lamps (L, 6), ambient and eye (3,)."""
    for p in range(len(ids)):
        pixel = u64(p)
        to_here = to_attributes[pixel]
        if ids[pixel] < 0:
            to_here[:] = _ZERO
            continue
        here = attributes[pixel]
        red, red_slope = _decode(here[0])
        green, green_slope = _decode(here[1])
        blue, blue_slope = _decode(here[2])
        g_red = gradient[0, pixel] * _encode_slope(linear[pixel, 0], picture[0, pixel])
        g_green = gradient[1, pixel] * _encode_slope(linear[pixel, 1], picture[1, pixel])
        g_blue = gradient[2, pixel] * _encode_slope(linear[pixel, 2], picture[2, pixel])
        nx, ny, nz, n_inverse = _unit(here[3], here[4], here[5])
        ex, ey, ez, e_inverse = _unit(eye[0] - here[6], eye[1] - here[7], eye[2] - here[8])
        facing_eye = nx * ex + ny * ey + nz * ez
        to_red, to_green, to_blue = g_red * ambient[0], g_green * ambient[1], g_blue * ambient[2]
        to_nx = to_ny = to_nz = to_ex = to_ey = to_ez = to_x = to_y = to_z = _ZERO
        to_ambient[0] += g_red * red
        to_ambient[1] += g_green * green
        to_ambient[2] += g_blue * blue
        for lamp in range(len(lamps)):
            lx, ly, lz, l_inverse = _unit(lamps[lamp, 0] - here[6], lamps[lamp, 1] - here[7], lamps[lamp, 2] - here[8])
            facing = nx * lx + ny * ly + nz * lz
            if facing <= _ZERO:
                continue
            mirrored = max(f32(2) * facing * facing_eye - (lx * ex + ly * ey + lz * ez), _ZERO)
            highlight = specular * _sixteenth_power(mirrored)
            lit_red, lit_green, lit_blue = g_red * lamps[lamp, 3], g_green * lamps[lamp, 4], g_blue * lamps[lamp, 5]
            to_lamps[lamp, 3] += g_red * (red * facing + (_ONE - red) * highlight)
            to_lamps[lamp, 4] += g_green * (green * facing + (_ONE - green) * highlight)
            to_lamps[lamp, 5] += g_blue * (blue * facing + (_ONE - blue) * highlight)
            to_red += lit_red * (facing - highlight)
            to_green += lit_green * (facing - highlight)
            to_blue += lit_blue * (facing - highlight)
            lit = lit_red + lit_green + lit_blue
            diffuse = lit_red * red + lit_green * green + lit_blue * blue
            # mirrored = 2 (n.l) (n.e) - l.e, and its sixteenth power's slope is sixteen times the fifteenth power
            to_mirrored = (lit - diffuse) * f32(16) * highlight / max(mirrored, f32(1e-12))
            to_facing, to_facing_eye = diffuse + f32(2) * to_mirrored * facing_eye, f32(2) * to_mirrored * facing
            to_nx += to_facing * lx + to_facing_eye * ex
            to_ny += to_facing * ly + to_facing_eye * ey
            to_nz += to_facing * lz + to_facing_eye * ez
            to_ex += to_facing_eye * nx - to_mirrored * lx
            to_ey += to_facing_eye * ny - to_mirrored * ly
            to_ez += to_facing_eye * nz - to_mirrored * lz
            gx, gy, gz = _through_unit(
                lx, ly, lz, l_inverse,
                to_facing * nx - to_mirrored * ex, to_facing * ny - to_mirrored * ey, to_facing * nz - to_mirrored * ez,
            )  # fmt: skip
            to_x, to_y, to_z = to_x - gx, to_y - gy, to_z - gz
            to_lamps[lamp, 0] += gx
            to_lamps[lamp, 1] += gy
            to_lamps[lamp, 2] += gz
        to_here[0], to_here[1], to_here[2] = to_red * red_slope, to_green * green_slope, to_blue * blue_slope
        to_here[3], to_here[4], to_here[5] = _through_unit(nx, ny, nz, n_inverse, to_nx, to_ny, to_nz)
        gx, gy, gz = _through_unit(ex, ey, ez, e_inverse, to_ex, to_ey, to_ez)
        to_here[6], to_here[7], to_here[8] = to_x - gx, to_y - gy, to_z - gz
        to_eye[0] += gx
        to_eye[1] += gy
        to_eye[2] += gz


class ShadeOnCpu(torch.autograd.Function):
    """(attributes, ids, lamps (S, L, 6), ambient, eye, background, specular), contiguous -> picture (S, 3, H, W)."""

    @staticmethod
    def forward(context, attributes, ids, lamps, ambient, eye, background, specular):
        count, height, width = ids.shape
        flat = attributes.view(count, -1, 9).numpy(), ids.view(count, -1).numpy()
        fixed = lamps.numpy(), ambient.numpy(), eye.numpy(), background.view(count, 3, -1).numpy()
        linear = np.empty((count, height * width, 3), np.float32)
        picture = np.empty((count, 3, height * width), np.float32)
        for_each(lambda i: _shade(*(x[i] for x in flat + fixed), f32(specular), linear[i], picture[i]), count)
        picture = torch.from_numpy(picture).view(count, 3, height, width)
        context.save_for_backward(attributes, ids, lamps, ambient, eye, torch.from_numpy(linear), picture)
        context.specular = specular
        return picture

    @staticmethod
    def backward(context, gradient):
        attributes, ids, lamps, ambient, eye, linear, picture = context.saved_tensors
        count = len(ids)
        before = attributes.view(count, -1, 9), ids.view(count, -1), lamps, ambient, eye
        after = linear, picture.view(count, 3, -1), gradient.contiguous().view(count, 3, -1)
        before, after = ([tensor.numpy() for tensor in tensors] for tensors in (before, after))
        to_attributes = np.empty(before[0].shape, np.float32)
        sums = [np.zeros(tensor.shape) for tensor in (lamps, ambient, eye)]

        def send_back(i):
            _send_back(
                *(x[i] for x in before), f32(context.specular), *(x[i] for x in after), to_attributes[i],
                *(total[i] for total in sums),
            )  # fmt: skip

        for_each(send_back, count)
        sums = [torch.from_numpy(total).float() for total in sums]
        return torch.from_numpy(to_attributes).view_as(attributes), None, *sums, None, None
