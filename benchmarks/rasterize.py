"""How fast the rasteriser is: ours on the CPU, a plain vectorised torch version, PyTorch3D and Kaolin where installed.

    python -m benchmarks.rasterize [--json] [--repeats 10]

A head-like closed mesh of 53,292 vertices and 106,580 triangles fills about 70 % of the picture; nine channels. Times
are the best of the repeats, in ms a picture: run on an idle machine. The torch version tests every triangle at every
pixel; it is timed on four rows of the picture and multiplied, which is how its time grows. "peak MB" is the largest
memory of the process so far, in the order of the table.
"""

import argparse
import importlib.util
import json
import resource
import sys
import time
from itertools import combinations

import torch

from lib.rasterize import rasterize

CHANNELS, SIZES, BATCHES = 9, (160, 224), (1, 16)
TORCH_ROWS = 4


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


def rasterize_in_torch(clip, triangles, attributes, height, width):
    """Test every triangle at every pixel, of `TORCH_ROWS` rows only; plain vectorised torch, differentiable."""
    x = (2 * torch.arange(width) + 1 - width) / width
    rows = torch.linspace(0, height - 1, TORCH_ROWS).round()
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


def backends():
    """Functions that draw, by name: those that can run here."""
    found = {"ours": lambda *arguments: rasterize(*arguments, backend="cpu").attributes, "torch": rasterize_in_torch}
    if importlib.util.find_spec("pytorch3d"):
        found["pytorch3d"] = rasterize_in_pytorch3d
    if torch.cuda.is_available() and importlib.util.find_spec("kaolin"):
        found["kaolin"] = lambda *arguments: rasterize(*arguments, backend="kaolin").attributes
    return found


def measure(function, arguments, gradients, repeats):
    """Best time in seconds of a drawing, and of its gradients too if they are wanted."""
    clip, triangles, attributes, size = arguments
    clip, attributes = (tensor.detach().requires_grad_(gradients) for tensor in (clip, attributes))
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.set_grad_enabled(gradients):
            image = function(clip, triangles, attributes, size, size)
            if gradients:
                torch.autograd.grad(image, (clip, attributes), image.detach())
        if clip.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def run(repeats):
    """All measurements as a list of dicts."""
    results, workloads = [], {batch: workload(batch) for batch in BATCHES}
    for name, function in backends().items():
        slow = name in ("torch", "pytorch3d")
        for threads in (1,) if name == "kaolin" else (1, 2):
            torch.set_num_threads(threads)
            for batch in BATCHES[:1] if slow else BATCHES:
                tensors = [tensor.to("cuda" if name == "kaolin" else "cpu") for tensor in workloads[batch]]
                for size in SIZES:
                    for gradients in (False, True):
                        seconds = measure(function, (*tensors, size), gradients, 1 if slow else repeats)
                        seconds *= size / TORCH_ROWS if name == "torch" else 1
                        results.append(
                            dict(
                                backend=name, threads=threads, batch=batch, size=size, gradients=gradients,
                                ms_per_picture=1000 * seconds / batch,
                                peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                            )
                        )  # fmt: skip
                        print(".", end="", file=sys.stderr, flush=True)
    ours = {_case(row): row["ms_per_picture"] for row in results if row["backend"] == "ours"}
    for row in results:
        row["ratio_to_ours"] = row["ms_per_picture"] / ours[_case(row)]
    return results


def _case(row):
    return row["threads"], row["batch"], row["size"], row["gradients"]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--repeats", type=int, default=10, help="of which the best counts")
    options = parser.parse_args()
    results = run(options.repeats)
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print(
        f"\n{'backend':<10}{'threads':>8}{'batch':>6}{'size':>6}{'gradients':>10}"
        f"{'ms/picture':>12}{'ratio':>9}{'peak MB':>9}"
    )
    for row in results:
        print(
            f"{row['backend']:<10}{row['threads']:>8}{row['batch']:>6}{row['size']:>6}{str(row['gradients']):>10}"
            f"{row['ms_per_picture']:>12.2f}{row['ratio_to_ours']:>9.1f}{row['peak_memory_mb']:>9.0f}"
        )


if __name__ == "__main__":
    main()
