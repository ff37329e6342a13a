"""All that is to be known of the study on a CUDA machine, in two runs of some minutes each.

    python -m benchmarks.gpu_check rasterisers     # backends against the CPU's, their speed and memory, pytest -m gpu
    python -m benchmarks.gpu_check study           # stage 1 and 2: speed, memory, a profile, and both whole
    python -m benchmarks.gpu_check rasterisers study --tiny    # the same in miniature, also without a GPU

Every line that is printed is a measurement; all of them are in build/gpu_check.json too, with the card's name. The last
line says whether the check passed: the exit status is 1 where anything went wrong or is beyond `LIMITS`, or where there
is no CUDA device. The part `device` looks for that alone.

Needs the stages `photos` and `stage1` (`dvc repro photos stage1`; `make gpu` sees to it). Kaolin and nvdiffrast are
compared where they are installed. The whole stages write into build/gpu_check and leave the study's own files alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.training import peak_memory_mb, seconds_of, small_study
from lib.core import paths
from lib.core.errors import StudyError
from lib.core.params import load_params
from lib.core.processes import best_device
from lib.face_model.model import Coefficients, FaceModel
from lib.recognition.network import DLIB_CROP
from lib.recognition.reader import FeatureReader
from lib.rendering.camera import alignment_points, crop_projection
from lib.rendering.rasterize import BACKENDS, rasterize
from lib.rendering.scenes import sample_scenes
from lib.rendering.vertices import vertex_stage
from lib.rendering.visible import load_kaolin_rasterizer
from lib.training.augmentation import Looks
from lib.training.loop import backward, make_optimizer
from lib.training.regressor import Regressor
from lib.training.stage1 import make_synthetic_faces, train_stage1
from lib.training.stage2 import draw_batch, stage2_losses, train_stage2
from lib.training.start import load_stage2

FOLDER = Path("build/gpu_check")
VARIANT = "full"
SHAPES = ((16, 3, 150), (64, 3, 160))
"""Faces, views of each, pixels per side: a step of the default and one of the paper's preset."""
LIMITS = dict(other_ids=1e-3, attribute_error=2e-4, clip_gradient_error=1e-3, attribute_gradient_error=1e-3, status=0)
"""The most that a backend may differ from the CPU's, as in tests/test_rasterize.py, and the status of the tests."""
SNAPPED_IDS = 0.1
"""The share of other ids that nvdiffrast's snapping to 1/16 of a pixel may make."""
RESULTS = []


def say(what, **values):
    """Print a measurement and keep it, with what is `wrong` where it is an error or beyond a limit."""
    limits = LIMITS | (dict(other_ids=SNAPPED_IDS) if values.get("backend") == "kaolin-nvdiffrast" else {})
    # not a number is within no limit
    wrong = [f"{name} above {most}" for name, most in limits.items() if not values.get(name, 0) <= most]
    wrong += ["not finite"] * (not values.get("finite", True)) + ["error"] * ("error" in values)
    values |= dict(wrong=", ".join(wrong)) if wrong else {}
    RESULTS.append(dict(what=what) | values)
    short = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}
    print(what, *(f"{name}={value}" for name, value in short.items()), sep="  ", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.with_suffix(".json").write_text(json.dumps(RESULTS, indent=1))


def attempt(what, task, **where):
    """Measure, and say what went wrong where something does: the rest is worth having."""
    try:
        values = task()
    except Exception as error:  # of any library
        values = dict(error=f"{type(error).__name__}: {error}"[:300])
    say(what, **where, **values)


def usable_backends():
    """Names of `BACKENDS` that can run here."""
    try:
        load_kaolin_rasterizer()
    except StudyError as error:
        say("without Kaolin", reason=str(error)[:100])
        return ["cpu", "torch"]
    return [name for name in BACKENDS if name != "kaolin-nvdiffrast" or find_spec("nvdiffrast")]


@torch.no_grad()
def workload(model, faces, views, size):
    """What the rasteriser draws in a step of stage 2: clip vertices, triangles, attributes."""
    generator = torch.Generator().manual_seed(faces)
    device = model.triangles.device
    scene = sample_scenes(faces * views, generator).to(device)
    sizes = model.shape_dimension, model.texture_dimension
    codes = Coefficients(*(torch.randn(faces, dimension, generator=generator) for dimension in sizes))
    vertices, albedo = model.vertices(codes.shape), model.albedo(codes.texture)
    points = alignment_points(vertices, model.alignment_vertices).repeat(views, 1, 1)
    crop = replace(DLIB_CROP, size=size)
    projection, _, _ = crop_projection(scene.angles, scene.distance, points, crop, scene.framing)
    clip, attributes = vertex_stage(vertices, albedo, model.triangles, projection)
    return clip, model.triangles, attributes


def draw(arguments, size, backend, gradients=True, output_grad=None):
    """Ids, attributes and, if asked for, the gradients of their sum, weighted with `output_grad`."""
    clip, triangles, attributes = arguments
    clip, attributes = (tensor.detach().requires_grad_(gradients) for tensor in (clip, attributes))
    fragments = rasterize(clip, triangles, attributes, size, size, backend)
    if not gradients:
        return fragments.triangle_ids, fragments.attributes
    output_grad = torch.ones_like(fragments.attributes) if output_grad is None else output_grad
    found = torch.autograd.grad(fragments.attributes, (clip, attributes), output_grad)
    return fragments.triangle_ids, fragments.attributes.detach(), *found


def agreement(arguments, size, backend):
    """How far a backend is from the CPU's: its ids, as a share of the covered pixels, and where these are the same.

    An attribute's unit is its largest value, since places are in mm.
    """
    ids, others = (draw(arguments, size, name, gradients=False)[0] for name in ("cpu", backend))
    same, unit = (ids == others) & (ids >= 0), arguments[2].abs().amax((0, 1))
    output_grad = torch.randn(*ids.shape, len(unit), generator=torch.Generator().manual_seed(0)).to(unit)
    output_grad = output_grad / unit * same[..., None]
    ours, theirs = (draw(arguments, size, name, output_grad=output_grad) for name in ("cpu", backend))
    relative = [((one - other).norm() / one.norm()).item() for one, other in zip(ours[2:], theirs[2:])]
    return dict(
        other_ids=((ids != others).sum() / (ids >= 0).sum()).item(),
        attribute_error=((ours[1] - theirs[1]) / unit)[same].abs().max().item(),
        clip_gradient_error=relative[0],
        attribute_gradient_error=relative[1],
        finite=all(bool(values.isfinite().all()) for values in theirs),
    )


def coverage(arguments, size, backend):
    """How many pixels show a triangle, and the share of those that show another one than by the CPU's backend."""
    ours, theirs = draw(arguments, size, "cpu", gradients=False)[0], draw(arguments, size, backend)[0]
    count = int((theirs >= 0).sum())
    return dict(covered=count, other_ids=(ours != theirs).sum().item() / max(count, 1))


def speed(work, pictures, seconds):
    """ms per picture, the median of what `seconds` allow, and the peak memory in MB."""
    seconds_of(work)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    times = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(seconds_of(work))
    return dict(ms_per_picture=1000 * statistics.median(times) / pictures, peak_memory_mb=peak_memory_mb())


def check_rasterisers(tiny):
    """Backends against the CPU's: what they draw, edge cases, time and memory; then the tests marked gpu."""
    device, names = best_device(), usable_backends()
    model, small = FaceModel.load(paths.FACE_MODEL / "full.h5").to(device), 48 if tiny else 150
    few = workload(model, 2, 2, small)
    for name in names:
        attempt("agreement", partial(agreement, few, small, name), backend=name)
    for faces, views, size in ((1, 2, small),) if tiny else SHAPES:
        arguments = workload(model, faces, views, size)
        for name in names:
            for gradients in (False, True):
                where = dict(backend=name, pictures=faces * views, size=size, gradients=gradients)
                work = partial(draw, arguments, size, name, gradients)
                attempt("speed", partial(speed, work, faces * views, 0 if tiny else 2), **where)
    # last: what goes wrong inside a kernel ends CUDA for this process
    one = torch.tensor([[[-3.0, -3, 0, 1], [3, -3, 0, 1], [0, 6, 0, 1]]], device=device)
    plain = torch.tensor([[0, 1, 2]], device=device), torch.ones(1, 3, 2, device=device)
    many = (few[0][:1].expand(20 if tiny else 700, -1, -1), few[1], few[2][:1])
    cases = dict(behind=(one.flip(1), *plain), few_pixels=(one, *plain), many_pictures=many)
    for name in names:
        for case, arguments in cases.items():
            size = 5 if case == "few_pixels" else 37
            attempt("edge case", partial(coverage, arguments, size, name), case=case, backend=name)
    if not tiny:
        say("pytest -m gpu", status=subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu"]).returncode)


def check_steps(params, tiny):
    """Steps of stage 2 in both precisions, at the default's size and the paper's, with a profile of the last."""
    regressor, inputs, _ = small_study(params)
    generator, optimizer = torch.Generator().manual_seed(0), make_optimizer(regressor, params.stage2)
    for photographs in (2,) if tiny else (16, 64):
        for precision in ("float32",) if tiny else ("float32", "bfloat16"):
            stage2 = replace(params.stage2, photographs=photographs, views=3, precision=precision)

            def step(stage2=stage2):
                batch = draw_batch(inputs, stage2, generator)
                backward(regressor, optimizer, stage2_losses(regressor, inputs, batch, stage2, params.stage1)["total"])
                optimizer.step()

            task = partial(speed, step, photographs * 3, 0 if tiny else 5)
            attempt("step", task, pictures=photographs * 3, precision=precision)
    cuda = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        seconds_of(step)
    table = profiler.key_averages().table(sort_by=f"self_{'cuda' if cuda else 'cpu'}_time_total", row_limit=40)
    (FOLDER / "profile.txt").write_text(table)


def check_stages(params, tiny):
    """Both stages whole, on the study's photographs; the watched people's likeness beside the earlier run's."""
    stage1 = replace(params.stage1, **(dict(faces=64, epochs=1) if tiny else {}))
    stage2 = params.variant(VARIANT)
    if tiny:
        stage2 = replace(stage2, steps=1, photographs=2, synthetic_faces=4, distribution_batch=8, validation_people=2)
        params = replace(params, stage2=replace(params.stage2, validation_people=2))
    started, start, monitor = load_stage2(params, VARIANT)
    model, network, device = start.face_model, start.reader.network, best_device()
    scenes, changes = start.distribution, start.augmentation
    say("earlier run", watched=monitor.measure(started), of="stage 1")
    began, reader = time.perf_counter(), FeatureReader(network)
    looks = Looks(stage1.expression, stage1.hair)
    faces = make_synthetic_faces(model, reader, stage1.faces, stage1.seed, scenes, FOLDER, changes, looks)
    say("stage 1 faces", faces=stage1.faces, faces_per_second=stage1.faces / (time.perf_counter() - began))
    torch.manual_seed(stage1.seed)
    regressor = Regressor(network.feature_dimension, model.shape_dimension, model.texture_dimension).to(device)
    began = time.perf_counter()
    history = train_stage1(regressor, faces.to(device), stage1, FOLDER / "stage1.safetensors")
    last = {name: history[-1][name] for name in ("loss", "shape_explained", "texture_explained")}
    say("stage 1", seconds=time.perf_counter() - began, **last, watched=monitor.measure(regressor))
    inputs, began = replace(start, synthetic=faces), time.perf_counter()
    history = train_stage2(regressor, inputs, stage2, stage1, FOLDER / "stage2.safetensors")
    watched = monitor.measure(regressor)
    say("stage 2", seconds=time.perf_counter() - began, **history["losses"][-1], watched=watched)
    earlier = paths.PLOTS / f"monitors/{VARIANT}.csv"
    if earlier.is_file():
        names, *_, values = (line.split(",") for line in earlier.read_text().split())
        say("earlier run", watched=dict(zip(names, map(float, values))), of="stage 2")


def check_study(tiny):
    """Steps and whole stages of the study's training."""
    for part in FOLDER.glob("*.safetensors"):
        part.unlink()
    params = load_params()
    check_steps(params, tiny)
    check_stages(params, tiny)


PARTS = dict(device=lambda tiny: None, rasterisers=check_rasterisers, study=check_study)


def timed(part, tiny):
    """Seconds that a part takes."""
    began = time.perf_counter()
    PARTS[part](tiny)
    return dict(seconds=time.perf_counter() - began)


def main(arguments=None):
    """Run the parts that are named; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--tiny", action="store_true", help="a dry run")
    options = parser.parse_args(arguments)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    say("machine", card=card, torch=torch.__version__, cuda=torch.version.cuda)
    if not (options.tiny or torch.cuda.is_available()):
        sys.exit("failed: there is no CUDA device (--tiny is a dry run without one)")
    for part in options.parts:
        attempt(part, partial(timed, part, options.tiny))
    failed = [result for result in RESULTS if "wrong" in result]
    for result in failed:
        print("wrong:", result, flush=True)
    if failed:
        sys.exit(f"failed: {len(failed)} of {len(RESULTS)} measurements are errors or beyond their limits")
    print(f"passed: {len(RESULTS)} measurements, no error, none beyond its limit")


if __name__ == "__main__":
    main()
