"""How fast the renderer is: our rasteriser on the CPU beside others in the same run, and a whole render.

    python -m benchmarks.rasterize [--json] [--repeats 10] [--peer FILE]
    python -m benchmarks.rasterize --memory     # of a training step's renders on a GPU, also without one

Needs the stage `face_model` (`dvc repro face_model`) for the whole renders: of 16 faces of the study's full-size model,
from one side each and, as a step of stage 2 draws them, from three.

A head-like closed mesh of 53,292 vertices and 106,580 triangles fills about 70 % of the picture; nine channels. "ours"
is the backend `cpu`, "torch" the backend of that name, "naive" a plain vectorised torch version; PyTorch3D where it is
installed; on a CUDA device the backend `torch` and, where installed, `kaolin` and `kaolin-nvdiffrast` there; and the
function ``rasterize(clip_vertices, triangles, attributes, height, width) -> image`` of a Python file, by --peer.

Times are ms per image, through autograd. The backends take turns, so that what else the machine does disturbs all of
them; "best" and "median" are of the repeats, "ratio" that of the best times to ours. The naive version tests every
triangle at every pixel; it is timed on four rows of the picture and multiplied, which is how its time grows. "peak
MB" is the largest memory of the whole process while that backend drew, on a CUDA device that of all tensors there.
"""

import argparse
import importlib.util
import json
import resource
import statistics
import sys
import time
import weakref
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path

import torch
from pytest import MonkeyPatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lib.core.params import load_params
from lib.core.processes import on_best_device
from lib.face_model.model import Coefficients, FaceModel
from lib.recognition.network import DLIB_CROP
from lib.rendering.camera import alignment_points, crop_projection
from lib.rendering.rasterize import rasterize
from lib.rendering.renderer import render
from lib.rendering.scenes import SceneDistribution, sample_scenes
from lib.rendering.vertices import vertex_stage
from lib.training.augmentation import Augmentation
from tests.pretend_device import pretended

CHANNELS, SIZES, BATCHES = 9, (160, 224), (1, 16)
FACE_MODEL, FACES, VIEWS = "data/face_model/full.h5", 16, (1, 3)
NAIVE_ROWS = 4


def head(steps):
    """A bumpy closed mesh: an icosahedron whose edges are divided in `steps`; vertices (N, 3), triangles (T, 3)."""
    golden = (1 + 5**0.5) / 2
    corners = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    corners += [(z, x, y) for x, y, z in corners] + [(y, z, x) for x, y, z in corners]
    corners = torch.tensor(corners, dtype=torch.float64)
    near = torch.cdist(corners, corners).sub(2).abs() < 1e-9
    faces = [(a, b, c) for a, b, c in combinations(range(12), 3) if near[a, b] and near[b, c] and near[a, c]]
    vertices, triangles = [], []
    for a, b, c in faces:
        if torch.linalg.det(corners[[a, b, c]]) < 0:
            b, c = c, b
        first = sum(len(part) for part in vertices)
        grid = [(i, j) for i in range(steps + 1) for j in range(steps + 1 - i)]
        place = {cell: first + k for k, cell in enumerate(grid)}
        weights = torch.tensor([(steps - i - j, i, j) for i, j in grid], dtype=torch.float64) / steps
        vertices.append(weights @ corners[[a, b, c]])
        for i, j in grid:
            if i + j < steps:
                triangles.append((place[i, j], place[i + 1, j], place[i, j + 1]))
            if i + j < steps - 1:
                triangles.append((place[i + 1, j], place[i + 1, j + 1], place[i, j + 1]))
    vertices = torch.nn.functional.normalize(torch.cat(vertices), dim=1)
    return _weld(vertices, torch.tensor(triangles))


def _weld(vertices, triangles):
    """Join the vertices of neighbouring faces, in the order of their first use, and make bumps."""
    _, group = torch.unique((vertices * 1e6).round().long(), dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group)).scatter_reduce(0, group, torch.arange(len(group)), "amin")
    order = first.argsort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    vertices = vertices[first[order]]
    bumps = torch.sin(vertices @ torch.tensor([[5.0, 2, 3], [-2, 7, 1], [3, -4, 6]], dtype=torch.float64)).mean(1)
    vertices = vertices * (1 + 0.08 * bumps[:, None]) * torch.tensor([0.9, 1.0, 0.94])
    return vertices.float(), rank[group][triangles]


def workload(batch, steps=73):
    """Clip coordinates (B, N, 4) of turned heads before a portrait lens, triangles, attributes (B, N, 9)."""
    generator = torch.Generator().manual_seed(1)
    vertices, triangles = head(steps)
    turn, _ = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator))
    turn = turn * torch.linalg.det(turn)[:, None, None]
    seen = vertices @ turn.mT
    w = 6.2 - seen[..., 2]
    near, far, zoom = 4.0, 9.0, 6.3
    depth = (far + near) / (far - near) * w - 2 * far * near / (far - near)
    clip = torch.stack([zoom * seen[..., 0], zoom * seen[..., 1], depth, w], 2)
    return clip, triangles, torch.randn(batch, len(vertices), CHANNELS, generator=generator)


def rasterize_naively(clip, triangles, attributes, height, width):
    """Test every triangle at every pixel, of `NAIVE_ROWS` rows only; plain vectorised torch, differentiable."""
    x = (2 * torch.arange(width) + 1 - width) / width
    rows = torch.linspace(0, height - 1, NAIVE_ROWS).round()
    pictures = []
    for places, values in zip(clip, attributes, strict=True):
        parts = []
        for y in (height - 1 - 2 * rows) / height:
            pixel = torch.stack([x, y.expand(width), torch.ones(width)])
            with torch.no_grad():
                corners = places[triangles]
                at = _edges(corners) @ pixel
                depth = (at * corners[..., 2].T[..., None]).sum(0) / (at * corners[..., 3].T[..., None]).sum(0)
                nearest = torch.where((at >= 0).all(0), depth, torch.inf).min(0)
            chosen = triangles[nearest.indices]
            at = (_edges(places[chosen]) * pixel.T).sum(2)
            blended = ((at / at.sum(0)).T[..., None] * values[chosen]).sum(1)
            parts.append(torch.where(nearest.values.isfinite()[:, None], blended, 0.0))
        pictures.append(torch.stack(parts))
    return torch.stack(pictures)


def _edges(corners):
    """Edge functions (3, T, 3) of triangles (T, 3, 4): coefficients of x, y and 1."""
    a, b, c = corners[..., [0, 1, 3]].unbind(1)
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)])


def rasterize_in_pytorch3d(clip, triangles, attributes, height, width):
    """PyTorch3D's CPU rasteriser; its x axis points to the left."""
    from pytorch3d.ops import interpolate_face_attributes
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    w = clip[..., 3:]
    places = torch.cat([-clip[..., :1] / w, clip[..., 1:2] / w, w], 2)
    meshes = Meshes(places, triangles.expand(len(clip), -1, -1))
    ids, _, weights, _ = rasterize_meshes(
        meshes, (height, width), faces_per_pixel=1, perspective_correct=True, cull_backfaces=True, bin_size=0
    )
    return interpolate_face_attributes(ids, weights, attributes[:, triangles].flatten(0, 1))[:, :, :, 0]


def backends(peer=None):
    """Functions that draw, by name and device: those that can run here, and the one of the Python file `peer`."""

    def ours(backend):
        return lambda *arguments: rasterize(*arguments, backend=backend).attributes

    found = {("ours", "cpu"): ours("cpu"), ("torch", "cpu"): ours("torch"), ("naive", "cpu"): rasterize_naively}
    if importlib.util.find_spec("pytorch3d"):
        found["pytorch3d", "cpu"] = rasterize_in_pytorch3d
    if torch.cuda.is_available():
        names = ["torch"]
        if importlib.util.find_spec("kaolin"):
            names += ["kaolin"] + ["kaolin-nvdiffrast"] * bool(importlib.util.find_spec("nvdiffrast"))
        found |= {(name, "cuda"): ours(name) for name in names}
    if peer:
        specification = importlib.util.spec_from_file_location("peer", peer)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        found["peer", "cpu"] = module.rasterize
    return found


def draw_once(function, arguments, gradients):
    """Seconds that a drawing takes, with its gradients if they are wanted."""
    clip, triangles, attributes, size = arguments
    clip, attributes = (tensor.detach().requires_grad_(gradients) for tensor in (clip, attributes))
    start = time.perf_counter()
    with torch.set_grad_enabled(gradients):
        image = function(clip, triangles, attributes, size, size)
        if gradients:
            torch.autograd.grad(image, (clip, attributes), image.detach())
    if clip.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory_mb(device):
    """Largest memory since the last call: of tensors on a CUDA device, or resident (since the start, but on Linux)."""
    if device == "cuda":
        most = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return most / 2**20
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        Path("/proc/self/clear_refs").write_text("5")
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def take_turns(cases, repeats):
    """Time (threads, device, function)s in turn, after a call each to warm up: seconds, peak memory, by case."""
    seconds, memory = {name: [] for name in cases}, {}
    for turn in range(repeats + 1):
        for name, (threads, device, function) in cases.items():
            torch.set_num_threads(threads)
            peak_memory_mb(device)
            elapsed = function()
            memory[name] = max(memory.get(name, 0.0), peak_memory_mb(device))
            if turn:
                seconds[name].append(elapsed)
    return seconds, memory


def run(repeats, peer=None):
    """All measurements of rasterisers as a list of dicts."""
    results, functions = [], backends(peer)
    slow = {case for case in functions if case[0] in ("naive", "pytorch3d")}
    for batch in BATCHES:
        tensors = workload(batch)
        for size in SIZES:
            for gradients in (False, True):
                for names, turns in ((set(functions) - slow, repeats), (slow if batch == 1 else set(), 1)):
                    cases = {}
                    for name, device in (case for case in functions if case in names):
                        arguments = (*(tensor.to(device) for tensor in tensors), size)
                        for threads in (1,) if device == "cuda" else (1, 2):
                            cases[name, device, threads] = (
                                threads,
                                device,
                                lambda f=functions[name, device], a=arguments, g=gradients: draw_once(f, a, g),
                            )
                    for (name, device, threads), row in _rows(*take_turns(cases, turns), batch).items():
                        scale = size / NAIVE_ROWS if name == "naive" else 1
                        row = {**row, "best": row["best"] * scale, "median": row["median"] * scale}
                        case = dict(threads=threads, batch=batch, size=size, gradients=gradients)
                        results.append(dict(backend=name, device=device, **case, **row))
                    print(".", end="", file=sys.stderr, flush=True)
    ours = {_case(row): row["best"] for row in results if row["backend"] == "ours"}
    for row in results:
        row["ratio_to_ours"] = row["best"] / ours[_case(row)]
    return results


def _rows(seconds, memory, pictures):
    """Best and median in ms per image and peak memory, by case."""
    return {
        case: dict(
            best=1000 * min(times) / pictures,
            median=1000 * statistics.median(times) / pictures,
            peak_memory_mb=memory[case],
        )
        for case, times in seconds.items()
    }


def _case(row):
    return row["threads"], row["batch"], row["size"], row["gradients"]


def run_renders(repeats, model):
    """Whole renders with gradients to coefficients, beside the rasteriser alone on what each of them draws."""
    generator, results = torch.Generator().manual_seed(1), []
    for size, views in product(SIZES, VIEWS):
        crop, pictures = replace(DLIB_CROP, size=size), FACES * views
        scene = sample_scenes(pictures, generator)
        codes = Coefficients(*(torch.randn(FACES, 199, generator=generator).requires_grad_() for _ in range(2)))
        gradient = torch.randn(pictures, 3, size, size, generator=generator)

        def whole(codes=codes, scene=scene, crop=crop, gradient=gradient):
            start = time.perf_counter()
            torch.autograd.grad(
                render(model, codes, scene, crop, backend="cpu"), (codes.shape, codes.texture), gradient
            )
            return time.perf_counter() - start

        alone = _rasteriser_of(model, codes, scene, crop)
        cases = {(name, n): (n, "cpu", f) for name, f in (("render", whole), ("rasterise", alone)) for n in (1, 2)}
        rows = _rows(*take_turns(cases, repeats), pictures)
        for threads in (1, 2):
            row = dict(backend="whole render", threads=threads, views=views, batch=pictures, size=size, gradients=True)
            render_row, alone_row = rows["render", threads], rows["rasterise", threads]
            row.update(render_row, ratio_to_rasteriser=render_row["best"] / alone_row["best"])
            results.append({**row, "rasteriser_alone": alone_row["best"]})
            print(".", end="", file=sys.stderr, flush=True)
    return results


@torch.no_grad()
def _rasteriser_of(model, coefficients, scene, crop):
    """The rasteriser's part of a render, with gradients, as a function that times itself."""
    vertices, albedo = model.vertices(coefficients.shape), model.albedo(coefficients.texture)
    points = alignment_points(vertices, model.alignment_vertices).repeat(len(scene) // len(vertices), 1, 1)
    projection, _, _ = crop_projection(scene.angles, scene.distance, points, crop, scene.framing)
    clip, attributes = vertex_stage(vertices, albedo, model.triangles, projection)
    arguments = clip, model.triangles, attributes, crop.size
    return lambda: draw_once(lambda *a: rasterize(*a, backend="cpu").attributes, arguments, True)


class Counter(TorchDispatchMode):
    """The bytes that tensors of the pretended device take at once: `now`, and `most` so far."""

    def __init__(self, before=()):
        super().__init__()
        self.known = {tensor.held.untyped_storage()._cdata for tensor in before}
        self.now = self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_flatten((args, kwargs, result))[0]:
            if hasattr(tensor, "held"):
                self._count(tensor.held.untyped_storage())
        self.most = max(self.most, self.now)
        return result

    def _count(self, storage):
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, number, size):
        self.known.discard(number)
        self.now -= size


def step_memory_mb(model, augmentation, faces=64, views=3, size=160):
    """MB that a step's renders, their `Augmentation` and both gradients take on a GPU beside models and networks.

    Where there is no GPU, its tensors are counted on the device that the tests pretend.
    """
    generator, crop = torch.Generator().manual_seed(1), replace(DLIB_CROP, size=size)
    scene = sample_scenes(faces * views, generator, augmentation.scenes(SceneDistribution()))
    draw = augmentation.draw(len(scene), generator)
    sizes = model.shape_dimension, model.texture_dimension
    codes = Coefficients(*(torch.randn(faces, count, generator=generator).requires_grad_() for count in sizes))

    def work(model):
        images = draw.apply(render(model, codes, scene, crop))
        torch.autograd.grad(images, (codes.shape, codes.texture), torch.ones_like(images))

    if torch.cuda.is_available():
        model, before = on_best_device(model), torch.cuda.memory_allocated()
        peak_memory_mb("cuda")
        work(model)
        return peak_memory_mb("cuda") - before / 2**20
    with MonkeyPatch.context() as patch, pretended(patch):
        model = on_best_device(model)
        with Counter([*model.buffers(), *model.parameters()]) as counter:
            work(model)
    return counter.most / 2**20


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--repeats", type=int, default=10, help="how often each is timed")
    parser.add_argument("--peer", help="a Python file with a function `rasterize` to compare with")
    parser.add_argument("--memory", action="store_true", help="measure the memory of a step's renders alone")
    options = parser.parse_args()
    model = FaceModel.load(FACE_MODEL)
    if options.memory:
        augmentation = Augmentation(**asdict(load_params().augmentation))
        print(f"192 views of 160 pixels: {step_memory_mb(model, augmentation):.0f} MB")
        return
    results, renders = run(options.repeats, options.peer), run_renders(options.repeats, model)
    if options.json:
        print(json.dumps({"rasterisers": results, "renders": renders}, indent=1))
        return
    print(f"\n{'backend':<18}{'device':>7}{'threads':>8}{'batch':>6}{'size':>6}{'gradients':>10}", end="")
    print(f"{'best':>9}{'median':>9}{'ratio':>9}{'peak MB':>9}")
    for row in results:
        print(
            f"{row['backend']:<18}{row['device']:>7}{row['threads']:>8}{row['batch']:>6}{row['size']:>6}{str(row['gradients']):>10}"
            f"{row['best']:>9.2f}{row['median']:>9.2f}{row['ratio_to_ours']:>9.1f}{row['peak_memory_mb']:>9.0f}"
        )
    print("\nwhole render with gradients to the coefficients; ratio to the rasteriser alone")
    for row in renders:
        print(
            f"{row['size']}, {row['views']} view{'s' if row['views'] > 1 else ''} a face, {row['threads']} threads: "
            f"best {row['best']:.2f}, median {row['median']:.2f}, rasteriser {row['rasteriser_alone']:.2f}, "
            f"ratio {row['ratio_to_rasteriser']:.1f}, peak MB {row['peak_memory_mb']:.0f}"
        )


if __name__ == "__main__":
    main()
