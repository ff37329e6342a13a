"""The rasteriser: coverage against exact arithmetic, gradients against float64, backends against each other."""

import math
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kaolin_stand_in import rasterize as stand_in
from meshes import perspective, random_rotations, sphere

import lib.rendering.rasterize
import lib.rendering.visible
from lib.core.errors import StudyError
from lib.rendering.rasterize import _best_on_devices, _choose, rasterize

ONE = torch.tensor([[0, 1, 2]])


@pytest.fixture(params=["cpu", "torch"])
def backend(request):
    """Each of the backends that run here and promise the same."""
    return request.param


@pytest.fixture
def kaolin(monkeypatch):
    """Have the stand-in for Kaolin drawn with."""
    monkeypatch.setattr(lib.rendering.visible, "load_kaolin_rasterizer", lambda: stand_in)


def flat(points, w=1.0, z=0.0):
    """Clip vertices (1, N, 4) of points in half pictures from the centre, all at one depth."""
    points = torch.tensor(points, dtype=torch.float32)
    rest = torch.tensor([z, 1.0]).expand(len(points), 2)
    return (torch.cat([points, rest], 1) * w)[None]


def draw(clip, triangles, height=8, width=8, attributes=None, **options):
    if attributes is None:
        attributes = torch.ones(len(clip), clip.shape[1], 1)
    return rasterize(clip, triangles, attributes, height, width, **options)


def many_spheres(generator, count=3, subdivisions=3, channels=9):
    """Turned spheres: clip vertices, triangles, random attributes."""
    vertices, triangles = sphere(subdivisions)
    clip = perspective(vertices @ random_rotations(count, generator).transpose(1, 2))
    return clip, triangles, torch.randn(count, len(vertices), channels, generator=generator)


def blend_in_float64(clip, triangles, attributes, ids):
    """The attributes at each pixel from its triangle alone, by perspective-correct barycentrics, in float64."""
    height, width = ids.shape[1:]
    x = (2 * torch.arange(width, dtype=torch.float64) + 1 - width) / width
    y = (height - 1 - 2 * torch.arange(height, dtype=torch.float64)) / height
    pixel = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], -1)
    picture = torch.arange(len(ids))[:, None, None, None]
    corner = triangles[ids.clamp(min=0).long()]
    matrix = clip.double()[picture, corner][..., [0, 1, 3]].transpose(-1, -2)
    weights = torch.linalg.solve(matrix, pixel.expand(len(ids), -1, -1, -1).unsqueeze(-1)).squeeze(-1)
    weights = weights / weights.sum(-1, keepdim=True)
    blended = (weights.unsqueeze(-1) * attributes.double()[picture, corner]).sum(-2)
    return torch.where((ids >= 0)[..., None], blended, 0.0)


# ---------------------------------------------------------------------------------------------- coverage


def test_one_triangle_covers_exactly_the_centres_inside(backend):
    # the lower left half of the picture, a quarter of a pixel further right than the diagonal's centres
    fragments = draw(flat([(-1, -1), (1.0625, -1), (-1, 1.0625)]), ONE, backend=backend)
    expected = torch.ones(8, 8, dtype=torch.bool).tril()
    assert torch.equal(fragments.covered[0], expected)
    assert fragments.triangle_ids.dtype == torch.int32
    assert torch.equal(fragments.triangle_ids[0] == -1, ~expected)
    assert torch.equal(fragments.attributes[0, ..., 0] == 0, ~expected)


def test_row_zero_is_the_top_and_centres_are_at_half_integers(backend):
    top_right = draw(
        flat([(0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)]), torch.tensor([[0, 1, 2], [0, 2, 3]]), 4, 8, backend=backend
    )
    assert top_right.covered[0].nonzero().tolist() == [[0, 6], [0, 7]]
    # the coordinates themselves as attributes tell where a pixel is sampled
    corners = flat([(-3, -3), (3, -3), (0, 6)])
    seen = draw(corners, ONE, 4, 8, corners[..., :2].contiguous(), backend=backend).attributes[0]
    torch.testing.assert_close(seen[0, :, 0], torch.arange(-7, 8, 2) / 8, atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[:, 0, 1], torch.tensor([0.75, 0.25, -0.25, -0.75]), atol=1e-6, rtol=0)


def test_attributes_are_perspective_correct(backend):
    # an edge from (-1, w = 1) to (1, w = 3): at the centre the far end weighs (1/3) / (1 + 1/3) = 1/4
    clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -3, 0, 3], [3, 3, 0, 3], [-1, 1, 0, 1]]])
    attributes = torch.tensor([[[0.0], [1], [1], [0]]])
    seen = draw(clip, torch.tensor([[0, 1, 2], [0, 2, 3]]), 3, 3, attributes, backend=backend).attributes[0, :, :, 0]
    # x = -2/3, 0, 2/3: u / (u + 3 (1 - u)) with u = (x + 1) / 2
    expected = torch.tensor([(u / (u + 3 * (1 - u))) for u in (1 / 6, 1 / 2, 5 / 6)])
    torch.testing.assert_close(seen, expected.expand(3, 3), atol=1e-6, rtol=0)


def test_the_nearest_of_two_is_seen(backend):
    near, far = flat([(-1, -1), (1, -1), (0, 1)], z=-0.5), flat([(-1, -1), (1, -1), (0, 1)], w=7.0, z=0.5)
    triangles = torch.tensor([[3, 4, 5], [0, 1, 2]])
    ids = draw(torch.cat([near, far], 1), triangles, backend=backend).triangle_ids
    assert (ids == 1).any() and not (ids == 0).any()


def test_back_faces_are_left_out_or_drawn(backend):
    clip = flat([(-1, -1), (0, 1), (1, -1)])
    assert not draw(clip, ONE, backend=backend).covered.any()
    values = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0))
    back = draw(clip, ONE, attributes=values, cull_backfaces=False, backend=backend)
    front = draw(clip, ONE.flip(1), attributes=values, backend=backend)
    assert torch.equal(back.triangle_ids, front.triangle_ids) and front.covered.any()
    torch.testing.assert_close(back.attributes, front.attributes)


def test_every_centre_on_a_shared_edge_belongs_to_one_triangle(backend):
    # a fan and a grid whose vertices and edges run exactly through pixel centres: no double hits, no gaps
    size = 8
    at = [(2 * k + 1) / size - 1 for k in range(size)]
    points, triangles = [(x, y) for y in at for x in at], []
    for row in range(size - 1):
        for column in range(size - 1):
            a = row * size + column
            cell = [[a, a + 1, a + size + 1], [a, a + size + 1, a + size]]
            if (row + column) % 2:
                cell = [[a, a + 1, a + size], [a + 1, a + size + 1, a + size]]
            triangles += cell
    hits = sum(draw(flat(points), torch.tensor([t]), backend=backend).covered.int() for t in triangles)
    # the border's right and lower centres belong to nobody
    assert hits.max() == 1
    assert int(hits.sum()) == (size - 1) ** 2
    assert torch.equal(draw(flat(points), torch.tensor(triangles), backend=backend).covered.int(), hits)


@pytest.mark.parametrize("careful", [False, True])
def test_a_closed_mesh_leaves_no_holes(generator, careful):
    vertices, triangles = sphere(5)
    clip = perspective(vertices @ random_rotations(12, generator).transpose(1, 2), zoom=7.0)
    if careful:  # one vertex behind the camera sends the picture down the other path
        clip = torch.cat([clip, clip.new_tensor([0, 0, 0, -1.0]).expand(12, 1, 4)], 1)
    covered = draw(clip, triangles, 40, 40).covered
    assert covered.all(), "the sphere is larger than the picture"


def exact_reference(clip, triangles, height, width, cull_backfaces):
    """What each pixel sees, in fractions: ids, and how near the decision was (a barycentric or a depth difference)."""
    vertices = [[Fraction(float(value)) for value in vertex] for vertex in clip]
    ids, margin = [[-1] * width for _ in range(height)], [[Fraction(1)] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            pixel = Fraction(2 * column + 1 - width, width), Fraction(height - 1 - 2 * row, height)
            best = None
            for number, triangle in enumerate(triangles.tolist()):
                hit = _exact_hit([vertices[v] for v in triangle], *pixel, cull_backfaces)
                if hit is None:
                    continue
                slack, depth = hit
                margin[row][column] = min(margin[row][column], abs(slack))
                if slack <= 0:
                    continue
                if best is not None:
                    margin[row][column] = min(margin[row][column], abs(depth - best))
                if best is None or depth < best:
                    best, ids[row][column] = depth, number
    return torch.tensor(ids), torch.tensor([[float(value) for value in line] for line in margin])


def _exact_hit(corners, x, y, cull_backfaces):
    """(least of the slacks: barycentrics and distances to near and far plane, depth) of one triangle."""
    (ax, ay, aw), (bx, by, bw), (cx, cy, cw) = ((p[0] - x * p[3], p[1] - y * p[3], p[3]) for p in corners)
    edges = [bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay]
    total = sum(edges)
    volume = edges[0] * aw + edges[1] * bw + edges[2] * cw
    if volume == 0 or total == 0 or (volume < 0 and cull_backfaces):
        return None
    weights = [edge / total for edge in edges]
    w = volume / total
    depth = sum(weight * p[2] for weight, p in zip(weights, corners, strict=True)) / w
    slack = min(*weights, 1 - abs(depth)) if w > 0 else Fraction(-1)
    return slack, depth


coordinates = st.floats(-2, 2, width=32, allow_subnormal=False)
in_front = st.floats(0.25, 4, width=32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates, coordinates, in_front), min_size=3, max_size=7), st.randoms())
def test_random_triangles_agree_with_exact_arithmetic(corners, random):
    check_against_exact(corners, random)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(coordinates, coordinates, coordinates, st.floats(-2, 2, width=32, allow_subnormal=False)),
        min_size=3,
        max_size=7,
    ),
    st.randoms(),
)
def test_triangles_through_the_camera_agree_with_exact_arithmetic(corners, random):
    check_against_exact(corners, random)


def check_against_exact(corners, random):
    triangles = torch.tensor([random.sample(range(len(corners)), 3) for _ in range(5)])
    clip = torch.tensor([corners])
    for cull_backfaces in (True, False):
        expected, margin = exact_reference(clip[0], triangles, 5, 6, cull_backfaces)
        clear = margin > 1e-4
        ids = draw(clip, triangles, 5, 6, cull_backfaces=cull_backfaces).triangle_ids[0]
        assert torch.equal(ids[clear], expected[clear].int())


def test_ids_agree_with_float64_on_a_fine_mesh(generator):
    clip, triangles, attributes = many_spheres(generator, count=4, subdivisions=5)
    ids = draw(clip, triangles, 96, 96).triangle_ids
    # the vertex behind the camera makes the rasteriser work in float64
    behind = torch.cat([clip, clip.new_tensor([0, 0, 0, -1.0]).expand(4, 1, 4)], 1)
    assert (ids != draw(behind, triangles, 96, 96).triangle_ids).float().mean() <= 1e-4
    assert (ids >= 0).float().mean() > 0.4


@pytest.fixture(scope="module")
def fine_mesh():
    """Vertices and triangles, and the exact ids (104, 104) of pixels that are about as large as the triangles."""
    vertices, triangles = sphere(5)
    size = 104
    clip = perspective(vertices @ random_rotations(1, torch.Generator().manual_seed(0)).transpose(1, 2), zoom=4.0)
    exact = [[Fraction(value) for value in vertex] for vertex in clip[0].tolist()]
    # the few triangles whose padded box holds a pixel centre, by pixel; none that faces away beyond doubt
    corners = ((clip[0, :, :2] / clip[0, :, 3:]).double()[triangles] * 0.5 + 0.5) * size - 0.5
    area = torch.linalg.det(corners[:, 1:] - corners[:, :1])
    low, high = corners.aminmax(dim=1)
    boxes = torch.cat([low - 0.01, high + 0.01], 1).tolist()
    candidates = {}
    for number in (area > -1e-3).nonzero()[:, 0].tolist():
        left, bottom, right, top = boxes[number]
        for x in range(max(math.ceil(left), 0), min(math.floor(right), size - 1) + 1):
            for y in range(max(math.ceil(bottom), 0), min(math.floor(top), size - 1) + 1):
                candidates.setdefault((size - 1 - y, x), []).append(number)
    expected = torch.full((size, size), -1, dtype=torch.int32)
    for (row, column), numbers in candidates.items():
        pixel = Fraction(2 * column + 1 - size, size), Fraction(size - 1 - 2 * row, size)
        hits = {number: _exact_hit([exact[v] for v in triangles[number].tolist()], *pixel, True) for number in numbers}
        depths = [(hit[1], number) for number, hit in hits.items() if hit is not None and hit[0] > 0]
        if depths:
            expected[row, column] = min(depths)[1]
    return clip, triangles, expected


def test_ids_agree_with_exact_arithmetic_on_a_fine_mesh(fine_mesh, backend):
    """On 99.99 % of 10,816 pixels."""
    clip, triangles, expected = fine_mesh
    ids = draw(clip, triangles, *expected.shape, backend=backend).triangle_ids[0]
    assert (ids != expected).float().mean() <= 1e-4
    assert (expected >= 0).float().mean() > 0.7


# ------------------------------------------------------------------------------------- odd triangles


def test_odd_triangles_are_left_out_and_harm_nobody(backend):
    good = [(-1, -1), (1, -1), (0, 1)]
    clip = flat(good + [(0, 0), (0.5, 0.5), (1, 1), (5, 5), (6, 5), (5, 6)])
    clip = torch.cat([clip, torch.full((1, 1, 4), torch.nan), torch.full((1, 1, 4), torch.inf)], 1)
    clip = torch.cat([clip, torch.tensor([[[0, 0, 0, -1.0], [-1, 0, 0, -1], [0, -1, 0, -1], [0, 0, 0, 0]]])], 1)
    odd = [[0, 1, 9], [0, 1, 10], [3, 4, 5], [3, 3, 4], [6, 7, 8], [11, 12, 13], [14, 14, 14], [0, 14, 1]]
    alone = draw(clip[:, :3], ONE, backend=backend)
    clip.requires_grad_()
    values = torch.randn(1, 15, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fragments = draw(clip, torch.tensor([*odd, [0, 1, 2]]), attributes=values, cull_backfaces=False, backend=backend)
    seen = fragments.triangle_ids
    assert torch.equal(seen == 8, alone.covered) and torch.equal(seen == -1, ~alone.covered)
    assert fragments.attributes.isfinite().all()
    for gradient in torch.autograd.grad(fragments.attributes.square().sum(), (clip, values)):
        assert gradient.isfinite().all() and gradient[:, :3].any() and not gradient[:, 3:].any()


def test_far_off_screen_vertices_keep_their_precision():
    # one corner a million half pictures away: the edge still runs through the picture at x = 0.1
    clip = flat([(0.1, -1e6), (0.1, 1e6), (-1e6, 0)])
    covered = draw(clip, ONE, 40, 40).covered[0]
    assert torch.equal(covered, (torch.arange(40) + 0.5 < 22).expand(40, 40))


def test_depth_beyond_near_and_far_plane_is_cut(backend):
    for depth, visible in ((-1.01, False), (-0.99, True), (0.99, True), (1.01, False), (30.0, False)):
        assert bool(draw(flat([(-1, -1), (1, -1), (0, 1)], z=depth), ONE, backend=backend).covered.any()) is visible


def test_no_triangles_and_tiny_pictures(backend):
    clip = flat([(-3, -3), (3, -3), (0, 6)])
    assert not draw(clip, torch.zeros(0, 3, dtype=torch.long), backend=backend).covered.any()
    assert draw(clip, ONE, 1, 1, backend=backend).covered.all()
    assert draw(clip, ONE, 1, 5, backend=backend).covered.shape == (1, 1, 5)


def test_the_nearest_of_many_large_triangles_is_seen(backend):
    # each of them covers the picture
    clip = torch.cat([flat([(-3, -3), (3, -3), (0, 6)], z=z) for z in torch.linspace(0.9, -0.9, 200).tolist()], 1)
    ids = draw(clip, torch.arange(600).view(200, 3), 64, 64, backend=backend).triangle_ids
    assert (ids == 199).all()


def test_slivers_agree_with_float64(backend):
    # a fan about a point off the centre, as models close their mouths with: long, thin, at every angle
    angles = torch.arange(0, 2 * math.pi, 2 * math.pi / 500)
    rim = torch.stack([angles.cos() * 1.3, angles.sin() * 0.9], 1)
    clip = flat([(0.013, 0.021), *rim.tolist()])
    fan = torch.stack([torch.zeros(500), torch.arange(500) + 1, torch.arange(1, 501) % 500 + 1], 1).int()
    seen = draw(clip, fan, 90, 110, backend=backend).triangle_ids
    behind = torch.cat([clip, clip.new_tensor([[[0, 0, 0, -1.0]]])], 1)
    assert (seen != draw(behind, fan, 90, 110).triangle_ids).sum() <= 1
    assert len(seen.unique()) > 450


def test_a_picture_wider_than_cells_can_tell(backend):
    clip = flat([(-1.2, -1.2), (0, 2), (0, -1.2)])
    ids = draw(clip, torch.tensor([[0, 2, 1]]), 2, 40_000, backend=backend).triangle_ids
    covered = (ids >= 0).sum(2)[0].tolist()
    # where the rows' centres, y = 1/2 and -1/2, are between the slanted edge and x = 0
    assert covered == [pytest.approx(20_000 * 1.2 * (2 - y) / 3.2, abs=1) for y in (0.5, -0.5)]


# ------------------------------------------------------------------------- attributes and gradients


@pytest.mark.parametrize("channels", [1, 9, 17])
def test_attributes_and_gradients_agree_with_float64(generator, channels, backend):
    clip, triangles, attributes = many_spheres(generator, channels=channels)
    clip.requires_grad_(), attributes.requires_grad_()
    fragments = rasterize(clip, triangles, attributes, 30, 40, backend=backend)
    expected = blend_in_float64(clip, triangles, attributes, fragments.triangle_ids)
    torch.testing.assert_close(fragments.attributes.double(), expected, atol=2e-4, rtol=0)
    output_grad = torch.randn(expected.shape, generator=generator)
    ours = torch.autograd.grad(fragments.attributes, (clip, attributes), output_grad)
    theirs = torch.autograd.grad(expected, (clip, attributes), output_grad.double())
    for gradient, reference in zip(ours, theirs, strict=True):
        assert (gradient - reference).norm() < 1e-3 * reference.norm()
    assert not ours[0][..., 2].any(), "depth has no gradient"


def test_gradients_agree_with_finite_differences(generator, backend):
    # one triangle that fills the picture: no id changes
    clip = torch.tensor([[[-5.0, -4, 0, 1.5], [6, -5, 0, 2], [0, 9, 0, 1]]])
    attributes = torch.randn(1, 3, 4, generator=generator)
    output_grad = torch.randn(1, 6, 6, 4, generator=generator)

    def total(clip):
        return (rasterize(clip, ONE, attributes, 6, 6, backend=backend).attributes.double() * output_grad).sum()

    gradient = torch.autograd.grad(total(clip.requires_grad_()), clip)[0]
    step, numeric = 1e-2, torch.zeros_like(clip)
    for index in range(12):
        change = torch.zeros(12).index_fill(0, torch.tensor(index), step).view_as(clip)
        numeric.view(-1)[index] = (total(clip.detach() + change) - total(clip.detach() - change)) / (2 * step)
    torch.testing.assert_close(gradient, numeric, atol=1e-3 * float(numeric.abs().max()), rtol=0)


def test_views_share_the_attributes_of_their_face(generator, backend):
    clip, triangles, attributes = many_spheres(generator, count=6)
    few = attributes[:2].requires_grad_()
    many = few.detach().repeat(3, 1, 1).requires_grad_()
    shared, apart = (rasterize(clip, triangles, values, 24, 24, backend=backend).attributes for values in (few, many))
    assert torch.equal(shared, apart)
    output_grad = torch.randn(shared.shape, generator=generator)
    ours = torch.autograd.grad(shared, few, output_grad)[0]
    theirs = torch.autograd.grad(apart, many, output_grad)[0].view(3, 2, *few.shape[1:]).sum(0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_same_bytes_at_any_number_of_threads(generator, count, careful):
    clip, triangles, attributes = many_spheres(generator, count=count, subdivisions=4)
    if careful:  # the first triangles reach behind the camera with the last vertex: all who share a picture must know
        triangles = torch.cat([torch.tensor([[0, 1, clip.shape[1]], [1, 0, clip.shape[1]]]), triangles])
        clip = torch.cat([clip, clip.new_tensor([0.3, 0.4, 0.5, -1]).expand(count, 1, 4)], 1)
        attributes = torch.nn.functional.pad(attributes, (0, 0, 0, 1), value=0.5)
    clip.requires_grad_(), attributes.requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            fragments = rasterize(clip, triangles, attributes, 33, 47)
            output_grad = fragments.attributes.detach().sin()
            gradients = torch.autograd.grad(fragments.attributes, (clip, attributes), output_grad)
            results.append((fragments.triangle_ids, fragments.attributes.detach(), *gradients))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


def test_order_of_triangles_and_pictures_does_not_matter(generator, backend):
    clip, triangles, attributes = many_spheres(generator, count=4)
    straight = rasterize(clip, triangles, attributes, 40, 40, backend=backend)
    order = torch.randperm(len(triangles), generator=generator)
    mixed = rasterize(clip, triangles[order], attributes, 40, 40, backend=backend)
    back = torch.where(mixed.covered, order[mixed.triangle_ids.clamp(min=0).long()].int(), -1)
    assert torch.equal(back, straight.triangle_ids)
    assert torch.equal(mixed.attributes, straight.attributes)
    pictures = torch.tensor([2, 0, 3, 1])
    mixed = rasterize(clip[pictures], triangles, attributes[pictures], 40, 40, backend=backend)
    assert torch.equal(mixed.attributes, straight.attributes[pictures])


def test_integer_types_of_triangles_and_strides_do_not_matter(generator, backend):
    clip, triangles, attributes = many_spheres(generator)
    expected = rasterize(clip, triangles, attributes, 16, 16, backend=backend).attributes
    strided = attributes.repeat_interleave(2, 2)[..., ::2]
    for kind in (torch.int32, torch.int16):
        assert torch.equal(rasterize(clip, triangles.to(kind), strided, 16, 16, backend=backend).attributes, expected)


# -------------------------------------------------------------------------------------------- errors


def test_wrong_arguments_are_named(generator, backend):
    clip, triangles, attributes = many_spheres(generator, count=2, subdivisions=0)
    for arguments, message in (
        ((clip[..., :3], triangles, attributes, 8, 8), "clip_vertices must be"),
        ((clip, triangles, attributes[:, :3], 8, 8), "attributes must be"),
        ((clip, triangles, attributes.repeat(2, 1, 1)[:3], 8, 8), "share 3 sets"),
        ((clip.double(), triangles, attributes, 8, 8), "float32"),
        ((clip, triangles.float(), attributes, 8, 8), "integers"),
        ((clip, triangles + 1, attributes, 8, 8), "but there are 6"),
        ((clip, triangles - 1, attributes, 8, 8), "name vertices -1"),
        ((clip, triangles, attributes, 0, 8), "one pixel"),
    ):
        with pytest.raises(ValueError, match=message):
            rasterize(*arguments, backend=backend)
    with pytest.raises(StudyError, match="'gpu' is unknown"):
        rasterize(clip, triangles, attributes, 8, 8, backend="gpu")


# -------------------------------------------------------------------------------------------- Kaolin


@pytest.mark.parametrize("drawn_by", ["torch", "kaolin"])
@pytest.mark.parametrize("cull_backfaces", [True, False])
def test_backends_for_devices_agree_with_the_cpu(generator, kaolin, cull_backfaces, drawn_by):
    clip, triangles, attributes = many_spheres(generator, count=4, subdivisions=2, channels=5)
    clip[1, 7] = torch.nan
    clip[2, 3, 3] = -1.0
    compare_backends(clip, triangles, attributes[:2], cull_backfaces, drawn_by)


def compare_backends(clip, triangles, attributes, cull_backfaces, backend, other_ids=0.0):
    """Ids; attributes by float64 to 2e-4, by the CPU's to 1e-4; gradients by both to 1e-3 of their magnitude.

    `other_ids` is a share of all; the CPU's are compared with where the ids agree.
    """
    clip.requires_grad_(), attributes.requires_grad_()
    # only the CPU backend cuts triangles that reach behind the camera
    sound = (clip.detach().isfinite().all(2) & (clip[..., 3] > 0)).all(0)
    triangles = triangles[sound[triangles.to(sound.device)].all(1).to(triangles.device)]
    ours = rasterize(clip.cpu(), triangles.cpu(), attributes.cpu(), 37, 30, "cpu", cull_backfaces)
    theirs = rasterize(clip, triangles, attributes, 37, 30, backend, cull_backfaces)
    assert theirs.triangle_ids.dtype == torch.int32 and theirs.covered.any()
    same = (theirs.triangle_ids.cpu() == ours.triangle_ids)[..., None]
    assert (~same).float().mean() <= other_ids
    torch.testing.assert_close(theirs.attributes.cpu() * same, ours.attributes * same, atol=1e-4, rtol=0)
    views = len(clip) // len(attributes)
    inputs = clip.cpu(), triangles.cpu(), attributes.repeat(views, 1, 1).cpu()
    expected = blend_in_float64(*inputs, theirs.triangle_ids.cpu().long())
    torch.testing.assert_close(theirs.attributes.cpu().double(), expected, atol=2e-4, rtol=0)
    output_grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    for drawn, pixels in ((expected, torch.ones_like(same)), (ours.attributes, same)):
        weights = (output_grad * pixels).to(drawn)
        references = torch.autograd.grad(drawn, (clip, attributes), weights)
        gradients = torch.autograd.grad(theirs.attributes, (clip, attributes), weights.to(theirs.attributes), True)
        for gradient, reference in zip(gradients, references, strict=True):
            assert gradient.isfinite().all()
            assert (gradient - reference).norm() < 1e-3 * reference.norm()


@pytest.mark.parametrize("drawn_by", ["torch", "kaolin"])
def test_backends_for_devices_leave_out_what_has_no_picture(generator, kaolin, drawn_by):
    clip, triangles, attributes = many_spheres(generator, count=1, subdivisions=1, channels=2)
    clip[0, 0], clip[0, 1, 3], clip[0, 2, 3] = torch.nan, 0.0, -1.0
    clip.requires_grad_(), attributes.requires_grad_()
    fragments = rasterize(clip, triangles, attributes, 20, 20, drawn_by)
    sound = ~(triangles < 3).any(1)
    assert sound[fragments.triangle_ids[fragments.covered].long()].all() and fragments.covered.any()
    for gradient in torch.autograd.grad(fragments.attributes.sum(), (clip, attributes)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("drawn_by", ["torch", "kaolin", "kaolin-nvdiffrast"])
def test_pictures_without_a_triangle_and_of_few_pixels_have_gradients(kaolin, drawn_by):
    clip = torch.cat([flat([(-3, -3), (3, -3), (0, 6)]), flat([(-3, -3), (0, 6), (3, -3)])]).requires_grad_()
    values = torch.ones(1, 3, 2, requires_grad=True)
    for pictures in ([1], [1, 1], [0, 1], [1, 0]):
        fragments = rasterize(clip[pictures], ONE, values, 3, 5, drawn_by)
        assert torch.equal(fragments.covered, (1 - torch.tensor(pictures)).bool()[:, None, None].expand(-1, 3, 5))
        for gradient in torch.autograd.grad(fragments.attributes.sum(), (clip, values)):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("drawn_by", ["torch", "kaolin"])
def test_more_pictures_than_are_drawn_at_once_change_nothing(generator, kaolin, monkeypatch, drawn_by):
    clip, triangles, attributes = many_spheres(generator, count=8, subdivisions=1, channels=3)
    clip.requires_grad_()
    results = []
    for at_once in (100, 3):
        monkeypatch.setattr(lib.rendering.visible, "PICTURES_AT_ONCE", at_once)
        fragments = rasterize(clip, triangles, attributes[:4], 21, 17, drawn_by)
        gradient = torch.autograd.grad(fragments.attributes.square().sum(), clip)[0]
        results.append((fragments.triangle_ids, fragments.attributes.detach(), gradient))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other)


def test_kaolin_is_given_what_can_be_seen_alone(generator, monkeypatch):
    clip, triangles, attributes = many_spheres(generator, count=2, subdivisions=5)
    given = []

    def listening(*args, valid_faces, **kwargs):
        given.append(valid_faces)
        return stand_in(*args, valid_faces=valid_faces, **kwargs)

    monkeypatch.setattr(lib.rendering.visible, "load_kaolin_rasterizer", lambda: listening)
    ids = rasterize(clip, triangles, attributes, 40, 40, "kaolin").triangle_ids
    assert torch.equal(ids, rasterize(clip, triangles, attributes, 40, 40, "cpu").triangle_ids)
    assert given[0].float().mean() < 0.25


def test_nvdiffrast_draws_a_larger_picture_that_is_cut(generator, kaolin):
    clip, triangles, attributes = many_spheres(generator, count=2, subdivisions=2)
    compare_backends(clip, triangles, attributes, True, "kaolin-nvdiffrast", other_ids=0.1)


def test_a_missing_or_empty_kaolin_is_refused_with_the_remedy(generator, monkeypatch, tmp_path):
    clip, triangles, attributes = many_spheres(generator, count=1, subdivisions=1)
    monkeypatch.setitem(sys.modules, "kaolin", None)
    with pytest.raises(StudyError, match="not installed.*kaolin==0.18.0"):
        rasterize(clip, triangles, attributes, 9, 9, backend="kaolin")
    monkeypatch.undo()
    (tmp_path / "kaolin").mkdir()
    (tmp_path / "kaolin" / "__init__.py").write_text("__version__ = '0.1'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "kaolin"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(StudyError, match="empty placeholder.*kaolin==0.18.0"):
        rasterize(clip, triangles, attributes, 9, 9, backend="kaolin")
    sys.modules.pop("kaolin", None)


@pytest.mark.parametrize("installed", [True, False])
def test_the_choice_on_a_gpu_is_printed_once(monkeypatch, capsys, installed):
    loader = (lambda: stand_in) if installed else lib.rendering.visible.load_kaolin_rasterizer
    monkeypatch.setattr(lib.rendering.rasterize, "load_kaolin_rasterizer", loader)
    monkeypatch.setitem(sys.modules, "kaolin", None)
    _best_on_devices.cache_clear()
    expected = "kaolin" if installed else "torch"
    assert [_choose("auto", torch.device("cuda")) for _ in range(3)] == [expected] * 3
    assert _choose("auto", torch.device("cpu")) == "cpu"
    assert capsys.readouterr().out == f"the rasteriser on the GPU is {expected}\n"
    _best_on_devices.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("drawn_by", ["torch", "kaolin", "kaolin-nvdiffrast"])
def test_backends_on_a_gpu_agree_with_the_cpu(generator, drawn_by):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if drawn_by != "torch":
        pytest.importorskip("kaolin.render.mesh")
    if drawn_by == "kaolin-nvdiffrast":
        pytest.importorskip("nvdiffrast")
    clip, triangles, attributes = many_spheres(generator, count=4, subdivisions=4)
    # nvdiffrast snaps to 1/16 of a pixel
    other_ids = 0.1 if drawn_by == "kaolin-nvdiffrast" else 1e-3
    compare_backends(clip.cuda(), triangles.cuda(), attributes.cuda(), True, drawn_by, other_ids)
