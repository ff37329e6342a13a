"""Fast twin of `lib.rendering.shading.shade` for the CPU: one picture per thread.

In torch some sixty elementwise steps would stream full-size pictures through memory, and a step of stage 2 take twice
as long. Here the covered pixels are worked on by the block. A block's values lie in `s`, one row per quantity, so that
each loop over its pixels is branch-free, stays in the nearest cache and becomes vector instructions.
"""

import numpy as np
import torch

from lib.rendering.kernels.compile import f32, f64, for_each, inlined, kernel, u64

_ZERO, _ONE = f32(0), f32(1)

BLOCK = 128  # pixels that are worked on together
_rows = iter(range(64))


def _next_rows(count):
    """Where the next rows of `s` begin: constants to the compiler, which sees that rows do not overlap."""
    return tuple(u64(BLOCK * next(_rows)) for _ in range(count))


# as the attributes come, then replaced: albedo by linear light, the normal by its direction
RED, GREEN, BLUE, NX, NY, NZ, X, Y, Z = _next_rows(9)
RED_SLOPE, GREEN_SLOPE, BLUE_SLOPE, N_INVERSE = _next_rows(4)
EX, EY, EZ, E_INVERSE, FACING_EYE = _next_rows(5)
LIGHT_RED, LIGHT_GREEN, LIGHT_BLUE, SEEN_RED, SEEN_GREEN, SEEN_BLUE = _next_rows(6)
LX, LY, LZ, L_INVERSE, FACING, MIRRORED, HIGHLIGHT = _next_rows(7)
G_RED, G_GREEN, G_BLUE = _next_rows(3)
TO_RED, TO_GREEN, TO_BLUE, TO_NX, TO_NY, TO_NZ, TO_X, TO_Y, TO_Z, TO_EX, TO_EY, TO_EZ = _next_rows(12)
ROWS = next(_rows)


@inlined
def _decode(value):
    """Linear light of an sRGB value, within 1e-5, and the slope of the curve, 0 where it is cut off."""
    # Chebyshev interpolation on [0.04045, 1] moves a picture by 1e-4 at most; powers would take half the shading's time
    v = min(max(value, _ZERO), _ONE)
    a0, a1, a2, a3 = f32(9.3114545e-4), f32(3.2632530e-2), f32(5.1585770e-1), f32(7.0087075e-1)
    a4, a5, a6 = f32(-4.0627095e-1), f32(2.0313659e-1), f32(-4.7160581e-2)
    curved = a0 + v * (a1 + v * (a2 + v * (a3 + v * (a4 + v * (a5 + v * a6)))))
    steep = a1 + v * (f32(2) * a2 + v * (f32(3) * a3 + v * (f32(4) * a4 + v * (f32(5) * a5 + v * f32(6) * a6))))
    straight = v <= f32(0.04045)
    slope = f32(1 / 12.92) if straight else steep
    return v * f32(1 / 12.92) if straight else curved, slope if v == value else _ZERO


@inlined
def _encode(linear):
    """sRGB value of linear light; the curved part, in the fourth root of the light, within 1e-5 as well."""
    linear = min(max(linear, _ZERO), _ONE)
    r = np.sqrt(np.sqrt(linear))
    a0, a1, a2, a3 = f32(-6.1629705e-2), f32(1.6497400e-1), f32(1.2442139), f32(-5.5755568e-1)
    a4, a5 = f32(2.7275226e-1), f32(-6.2758990e-2)
    curved = min(a0 + r * (a1 + r * (a2 + r * (a3 + r * (a4 + r * a5)))), _ONE)
    return linear * f32(12.92) if linear <= f32(0.0031308) else curved


@inlined
def _encode_slope(linear, encoded):
    """Slope of `_encode`, from its result: no second power."""
    curved = (encoded + f32(0.055)) / (f32(2.4) * max(linear, f32(0.0031308)))
    slope = f32(12.92) if linear <= f32(0.0031308) else curved
    return slope if (linear >= _ZERO) & (linear <= _ONE) else _ZERO


@inlined
def _unit(x, y, z):
    """The direction of a vector and one over its length."""
    inverse = _ONE / max(np.sqrt(x * x + y * y + z * z), f32(1e-12))
    return x * inverse, y * inverse, z * inverse, inverse


@inlined
def _through_unit(x, y, z, inverse, gx, gy, gz):
    """Gradient of a vector from that of its direction (x, y, z)."""
    along = x * gx + y * gy + z * gz
    return (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse


@inlined
def _sixteenth_power(x):
    x2 = x * x
    x4 = x2 * x2
    x8 = x4 * x4
    return x8 * x8


@inlined
def _gather(attributes, ids, first, last, listed, s):
    """List the covered pixels among first ... last - 1 and copy their attributes; return their number."""
    count = u64(0)
    for pixel in range(first, last):
        listed[count] = pixel
        count += u64(ids[u64(pixel)] >= 0)
    for p in range(count):
        for k in range(9):
            s[RED + u64(k * BLOCK) + p] = attributes[u64(listed[p]), u64(k)]
    return count


@inlined
def _prepare(s, count, eye):
    """Linear albedo, directions of the normal and of the eye."""
    eye_x, eye_y, eye_z = eye[0], eye[1], eye[2]
    for p in range(count):
        s[RED + p], s[RED_SLOPE + p] = _decode(s[RED + p])
        s[GREEN + p], s[GREEN_SLOPE + p] = _decode(s[GREEN + p])
        s[BLUE + p], s[BLUE_SLOPE + p] = _decode(s[BLUE + p])
        nx, ny, nz, s[N_INVERSE + p] = _unit(s[NX + p], s[NY + p], s[NZ + p])
        ex, ey, ez, s[E_INVERSE + p] = _unit(eye_x - s[X + p], eye_y - s[Y + p], eye_z - s[Z + p])
        s[NX + p], s[NY + p], s[NZ + p], s[EX + p], s[EY + p], s[EZ + p] = nx, ny, nz, ex, ey, ez
        s[FACING_EYE + p] = nx * ex + ny * ey + nz * ez


@inlined
def _turn_to_lamp(s, count, lamp, specular):
    """Find direction of a lamp, one over its distance, how much it faces the surface and is mirrored, and its shine."""
    x, y, z = lamp[0], lamp[1], lamp[2]
    for p in range(count):
        lx, ly, lz, s[L_INVERSE + p] = _unit(x - s[X + p], y - s[Y + p], z - s[Z + p])
        facing = max(s[NX + p] * lx + s[NY + p] * ly + s[NZ + p] * lz, _ZERO)
        along = lx * s[EX + p] + ly * s[EY + p] + lz * s[EZ + p]
        mirrored = max(f32(2) * facing * s[FACING_EYE + p] - along, _ZERO)
        highlight = specular * _sixteenth_power(mirrored)
        s[LX + p], s[LY + p], s[LZ + p], s[FACING + p], s[MIRRORED + p] = lx, ly, lz, facing, mirrored
        s[HIGHLIGHT + p] = highlight if facing > _ZERO else _ZERO


@inlined
def _directions_backward(s, count, lamp, to_lamp):
    """Add the gradients of normal, direction of the eye, place, and of the lamp's place, by way of one lamp."""
    red, green, blue = lamp[3], lamp[4], lamp[5]
    sum_x = sum_y = sum_z = _ZERO
    for p in range(count):
        lx, ly, lz, facing = s[LX + p], s[LY + p], s[LZ + p], s[FACING + p]
        lit_red, lit_green, lit_blue = s[G_RED + p] * red, s[G_GREEN + p] * green, s[G_BLUE + p] * blue
        diffuse = lit_red * s[RED + p] + lit_green * s[GREEN + p] + lit_blue * s[BLUE + p]
        # mirrored = 2 (n.l) (n.e) - l.e, and its sixteenth power's slope is sixteen times the fifteenth power
        slope = f32(16) * s[HIGHLIGHT + p] / max(s[MIRRORED + p], f32(1e-12))
        to_mirrored = (lit_red + lit_green + lit_blue - diffuse) * slope
        to_facing = diffuse + f32(2) * to_mirrored * s[FACING_EYE + p]
        to_facing = to_facing if facing > _ZERO else _ZERO
        to_facing_eye = f32(2) * to_mirrored * facing
        s[TO_NX + p] += to_facing * lx + to_facing_eye * s[EX + p]
        s[TO_NY + p] += to_facing * ly + to_facing_eye * s[EY + p]
        s[TO_NZ + p] += to_facing * lz + to_facing_eye * s[EZ + p]
        s[TO_EX + p] += to_facing_eye * s[NX + p] - to_mirrored * lx
        s[TO_EY + p] += to_facing_eye * s[NY + p] - to_mirrored * ly
        s[TO_EZ + p] += to_facing_eye * s[NZ + p] - to_mirrored * lz
        gx, gy, gz = _through_unit(
            lx, ly, lz, s[L_INVERSE + p],
            to_facing * s[NX + p] - to_mirrored * s[EX + p],
            to_facing * s[NY + p] - to_mirrored * s[EY + p],
            to_facing * s[NZ + p] - to_mirrored * s[EZ + p],
        )  # fmt: skip
        s[TO_X + p] -= gx
        s[TO_Y + p] -= gy
        s[TO_Z + p] -= gz
        sum_x += gx
        sum_y += gy
        sum_z += gz
    to_lamp[0] += f64(sum_x)
    to_lamp[1] += f64(sum_y)
    to_lamp[2] += f64(sum_z)


@kernel
def _shade(attributes, ids, lamps, ambient, eye, background, specular, linear, picture):
    """Fill `picture` (3, P) and, for the backward pass, `linear` (P, 3); lamps (L, 6) are positions and colours."""
    s, listed = np.empty(ROWS * BLOCK, np.float32), np.empty(BLOCK, np.int64)
    picture[:] = background
    for first in range(0, len(ids), BLOCK):
        count = _gather(attributes, ids, first, min(first + BLOCK, len(ids)), listed, s)
        _prepare(s, count, eye)
        red, green, blue = ambient[0], ambient[1], ambient[2]
        for p in range(count):
            s[LIGHT_RED + p], s[LIGHT_GREEN + p] = red * s[RED + p], green * s[GREEN + p]
            s[LIGHT_BLUE + p] = blue * s[BLUE + p]
        for lamp in range(len(lamps)):
            _turn_to_lamp(s, count, lamps[lamp], specular)
            red, green, blue = lamps[lamp, 3], lamps[lamp, 4], lamps[lamp, 5]
            for p in range(count):
                difference, highlight = s[FACING + p] - s[HIGHLIGHT + p], s[HIGHLIGHT + p]
                s[LIGHT_RED + p] += red * (s[RED + p] * difference + highlight)
                s[LIGHT_GREEN + p] += green * (s[GREEN + p] * difference + highlight)
                s[LIGHT_BLUE + p] += blue * (s[BLUE + p] * difference + highlight)
        for p in range(count):
            s[SEEN_RED + p], s[SEEN_GREEN + p] = _encode(s[LIGHT_RED + p]), _encode(s[LIGHT_GREEN + p])
            s[SEEN_BLUE + p] = _encode(s[LIGHT_BLUE + p])
        for p in range(count):
            pixel = u64(listed[p])
            for k in range(3):
                linear[pixel, k] = s[LIGHT_RED + u64(k * BLOCK) + p]
                picture[k, pixel] = s[SEEN_RED + u64(k * BLOCK) + p]


@kernel
def _shade_backward(
    attributes, ids, lamps, ambient, eye, specular, linear, picture, gradient,
    to_attributes, to_lamps, to_ambient, to_eye,
):  # fmt: skip
    """Fill the gradient of the attributes (P, 9) and add to those of lamps (L, 6), ambient and eye (3,)."""
    s, listed = np.empty(ROWS * BLOCK, np.float32), np.empty(BLOCK, np.int64)
    to_attributes[:] = f32(0)
    for first in range(0, len(ids), BLOCK):
        count = _gather(attributes, ids, first, min(first + BLOCK, len(ids)), listed, s)
        _prepare(s, count, eye)
        for p in range(count):
            pixel = u64(listed[p])
            for k in range(3):
                row = u64(k * BLOCK) + p
                s[LIGHT_RED + row], s[SEEN_RED + row] = linear[pixel, k], picture[k, pixel]
                s[G_RED + row] = gradient[k, pixel]
        s[TO_NX : TO_NX + u64(9 * BLOCK)] = _ZERO
        # to the linear light, and through the ambient light
        for k in range(3):
            colour, total = ambient[k], _ZERO
            for p in range(count):
                value = u64(k * BLOCK) + p
                to_light = s[G_RED + value] * _encode_slope(s[LIGHT_RED + value], s[SEEN_RED + value])
                s[G_RED + value], s[TO_RED + value] = to_light, to_light * colour
                total += to_light * s[RED + value]
            to_ambient[k] += f64(total)
        for lamp in range(len(lamps)):
            _turn_to_lamp(s, count, lamps[lamp], specular)
            # to the albedo and the lamp's colour
            for k in range(3):
                colour, total = lamps[lamp, 3 + k], _ZERO
                for p in range(count):
                    value = u64(k * BLOCK) + p
                    difference, highlight = s[FACING + p] - s[HIGHLIGHT + p], s[HIGHLIGHT + p]
                    total += s[G_RED + value] * (s[RED + value] * difference + highlight)
                    s[TO_RED + value] += s[G_RED + value] * colour * difference
                to_lamps[lamp, 3 + k] += f64(total)
            _directions_backward(s, count, lamps[lamp], to_lamps[lamp])
        # from decoded albedo and directions to what they come from
        sum_x = sum_y = sum_z = _ZERO
        for p in range(count):
            s[TO_RED + p] *= s[RED_SLOPE + p]
            s[TO_GREEN + p] *= s[GREEN_SLOPE + p]
            s[TO_BLUE + p] *= s[BLUE_SLOPE + p]
            s[TO_NX + p], s[TO_NY + p], s[TO_NZ + p] = _through_unit(
                s[NX + p], s[NY + p], s[NZ + p], s[N_INVERSE + p], s[TO_NX + p], s[TO_NY + p], s[TO_NZ + p]
            )
            gx, gy, gz = _through_unit(
                s[EX + p], s[EY + p], s[EZ + p], s[E_INVERSE + p], s[TO_EX + p], s[TO_EY + p], s[TO_EZ + p]
            )
            s[TO_X + p] -= gx
            s[TO_Y + p] -= gy
            s[TO_Z + p] -= gz
            sum_x += gx
            sum_y += gy
            sum_z += gz
        to_eye[0] += f64(sum_x)
        to_eye[1] += f64(sum_y)
        to_eye[2] += f64(sum_z)
        for p in range(count):
            for k in range(9):
                to_attributes[u64(listed[p]), u64(k)] = s[TO_RED + u64(k * BLOCK) + p]


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

        def backward_of_picture(i):
            _shade_backward(
                *(x[i] for x in before), f32(context.specular), *(x[i] for x in after), to_attributes[i],
                *(total[i] for total in sums),
            )  # fmt: skip

        for_each(backward_of_picture, count)
        sums = [torch.from_numpy(total).float() for total in sums]
        return torch.from_numpy(to_attributes).view_as(attributes), None, *sums, None, None
