"""How good the open face model is: identity, detection, real scans; and how fast, large and quickly built.

    python -m benchmarks.face_model [identity] [speed] [build] [scans] [--json]

Needs the stages `face_model` and `networks` at their default parameters. Without names all parts run.

identity  90 random neutral faces, each in three random poses and lights, in the space of dlib's network (Euclidean
          distance of raw descriptors, as it was trained): area under the ROC curve of same against different pairs,
          with shape and texture, and with texture alone; and the share of the renders in which MTCNN finds a face.
speed     a batch of 16 decoded to vertices and albedo, forward and backward, beside the plain matrix products it
          consists of (interleaved, best of the repeats: run on an idle machine); memory of the model; loading.
build     the stage's build at the default parameters, in a folder of its own.
scans     mean surface distance to real scans (PLY files in the folder `--scans`; left out where it is missing) over the
          number of components; 0 is the mean face.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lib.core import paths
from lib.core.params import load_params
from lib.evaluation.scan_fit import NOSE_TIP, fit_scan, outer_skin
from lib.evaluation.surfaces import crop_to_sphere, make_surface, symmetric_distance
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.model import Coefficients, FaceModel
from lib.open_model.build import build_open_face_model
from lib.photos.detect import FaceDetector
from lib.recognition.network import load_network
from lib.rendering.crop import Crop
from lib.rendering.renderer import render, sample_scenes

IDENTITIES, VIEWS = 90, 3
PHOTOGRAPH = Crop(250, ((0.41, 0.44), (0.59, 0.44), (0.43, 0.62), (0.57, 0.62)))
"""A face in a photograph, with room about it, for the detector."""

BATCH = 16
COMPONENTS = (0, 20, 50, 100, 199)


@torch.no_grad()
def identity(model, seed=0, block=30):
    """AUC in dlib's space, with shape and with texture alone, and MTCNN's detection rate."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(IDENTITIES, model.shape_dimension, generator=generator)
    texture = torch.randn(IDENTITIES, model.texture_dimension, generator=generator)
    scenes = sample_scenes(VIEWS * IDENTITIES, generator)
    network, detector = load_network("dlib", paths.NETWORKS), FaceDetector()
    persons = torch.arange(IDENTITIES).repeat(VIEWS)
    both, alone = Coefficients(shape, texture), Coefficients(torch.zeros_like(shape), texture)
    descriptors, found = {"shape_and_texture": [], "texture_alone": []}, 0
    for rows in torch.arange(len(scenes)).split(block):
        for name, faces in zip(descriptors, (both, alone), strict=True):
            pictures = render(model, faces[persons[rows]], scenes[rows], network.crop)
            descriptors[name].append(network.descriptor(pictures)[1])
        pictures = render(model, both[persons[rows]], scenes[rows], PHOTOGRAPH)
        pictures = (255 * pictures).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        found += sum(face is not None for face in detector.detect(list(pictures)))
    result = {f"auc_{name}": auc(torch.cat(parts), persons) for name, parts in descriptors.items()}
    return result | {"detected": found / len(scenes)}


def auc(descriptors, persons):
    """Chance that two pictures of one person are nearer than two of two people: descriptors (n, E), persons (n,)."""
    row, column = torch.triu_indices(len(persons), len(persons), offset=1)
    distances = torch.cdist(descriptors, descriptors)[row, column]
    same = persons[row] == persons[column]
    inside, across = distances[same], distances[~same].sort().values
    return float((1 - torch.searchsorted(across, inside) / len(across)).mean())


def speed(model, path, repeats):
    """Decoding beside its matrix products in ms per batch, memory in MiB, seconds to load."""
    generator = torch.Generator().manual_seed(0)
    dimensions = model.shape_dimension, model.texture_dimension
    shape, texture = (torch.randn(BATCH, count, generator=generator) for count in dimensions)
    size = 3 * model.vertex_count
    # not FaceModel's own tensors: the plain products know nothing of how it keeps them
    bases = [torch.randn(len(c[0]), size, generator=generator) for c in (shape, texture)]
    above = torch.randn(BATCH, size, generator=generator)

    def decode():
        inputs = [c.requires_grad_() for c in (shape, texture)]
        outputs = [model.vertices(shape), model.albedo(texture)]
        return torch.autograd.grad(outputs, inputs, [above.view_as(output) for output in outputs])

    def products():
        return [(c.detach() @ basis, above @ basis.T) for c, basis in zip((shape, texture), bases, strict=True)]

    best = {decode: float("inf"), products: float("inf")}
    for _ in range(repeats):
        for function in best:
            start = time.perf_counter()
            function()
            best[function] = min(best[function], time.perf_counter() - start)
    loading = min(_seconds(lambda: FaceModel.load(path)) for _ in range(3))
    return {
        "decode_ms": 1000 * best[decode],
        "products_ms": 1000 * best[products],
        "ratio": best[decode] / best[products],
        "memory_mib": sum(buffer.nbytes for buffer in model.buffers()) / 2**20,
        "load_seconds": loading,
    }


def build(params):
    """Seconds to build the model of these parameters."""
    samples = params.shape_samples, params.texture_samples, params.expression_samples
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        seconds = _seconds(lambda: build_open_face_model(path, params.resolution, params.seed, *samples))
    return {"build_seconds": seconds}


def scans(model, folder):
    """Mean surface distance in mm of each scan, and of all of them, for each number of components."""
    paths = sorted(Path(folder).glob("*.ply"))
    meshes = {path.stem: read_mesh(path) for path in paths}
    scans = {name: make_surface(mesh.vertices, mesh.triangles) for name, mesh in meshes.items()}
    distances = {
        name: [fit_error(model, scan, *fit_scan(model, scan, k)) for k in COMPONENTS] for name, scan in scans.items()
    }
    if distances:
        distances["mean"] = np.mean(list(distances.values()), axis=0).tolist()
    return {name: dict(zip(map(str, COMPONENTS), values, strict=True)) for name, values in distances.items()}


def fit_error(model, scan, coefficients, pose):
    """Mean distance in mm, both ways, of scan and fitted face within 95 mm of the nose tip (paper Table 1)."""
    shape = torch.zeros(1, model.shape_dimension)
    shape[0, : len(coefficients)] = torch.from_numpy(coefficients)
    vertices = model.vertices(shape)[0].numpy()
    tip = vertices[model.landmarks[NOSE_TIP]]
    rows, triangles = outer_skin(model)
    surfaces = make_surface(vertices[rows], triangles), scan.moved(pose)
    return symmetric_distance(*(crop_to_sphere(surface, tip) for surface in surfaces))


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("identity", "speed", "build", "scans")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}; none: all")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--repeats", type=int, default=20, help="of the decoding, of which the best counts")
    parser.add_argument("--scans", default="../shared/scans/facefuns", help="folder of scans, mm, frontal")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    params = load_params().face_model
    model = FaceModel.load(params.path)
    measure = {
        "identity": lambda: identity(model),
        "speed": lambda: speed(model, params.path, options.repeats),
        "build": lambda: build(params),
        "scans": lambda: scans(model, options.scans),
    }
    results = {name: measure[name]() for name in options.parts or parts}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for name, values in results.items():
        for key, value in values.items():
            row = value.items() if isinstance(value, dict) else [("", value)]
            print(f"{name:<10}{key:<24}" + "  ".join(f"{label} {number:.4g}".strip() for label, number in row))


if __name__ == "__main__":
    main()
