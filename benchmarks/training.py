"""What a step of stage 2 costs beside the frozen network's own work.

    python -m benchmarks.training [--json] [--repeats 8]

A step draws 16 photographs in 3 views, with the full face model, the dlib network and the augmentation of params.yaml,
takes the gradient of all losses to the regressor and updates it. The network alone goes forward and backward over the
same 48 pictures, in float32: as torch runs its layers by themselves, which is what the ratio refers to, and as a step
runs them, channels last. Beside them: a look at 16 validation people (`stage2.validation_steps`), and, where the
processor computes in bfloat16, the step in that precision with the cosine of its gradient to that of float32. All take
turns in one run, on two threads; the medians count. Needs the stages `face_model` and `networks` (`dvc repro networks
face_model`); features and embeddings are random, since their values cost nothing.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from dataclasses import asdict, replace

import torch

from lib.core import paths
from lib.core.params import load_params
from lib.core.processes import best_device, best_precision
from lib.face_model.model import Coefficients, FaceModel
from lib.photos.store import Photographs
from lib.recognition.dlib import DlibNetwork
from lib.recognition.network import load_network
from lib.recognition.reader import FeatureReader
from lib.rendering.scenes import SceneDistribution
from lib.training.augmentation import Augmentation
from lib.training.loop import backward, make_optimizer
from lib.training.monitor import Monitor
from lib.training.regressor import Regressor
from lib.training.stage1 import SyntheticFaces
from lib.training.stage2 import Stage2Inputs, draw_batch, stage2_losses

PHOTOGRAPHS, VIEWS, FACES, VALIDATION = 16, 3, 200, 16


def seconds_of(work):
    synchronise()
    started = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - started


def synchronise():
    """Wait for a GPU to have done what it was asked for."""
    if best_device().type == "cuda":
        torch.cuda.synchronize()


def peak_memory_mb():
    """Largest memory of the GPU, or of the process where there is none."""
    if best_device().type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def small_study(params):
    """The real model and networks, with random photographs: what a step takes, and a monitor; on the best device."""
    device = best_device()
    model, network = FaceModel.load(paths.FACE_MODEL / "full.h5").to(device), load_network("dlib", paths.NETWORKS)
    judge = load_network("faceres", paths.NETWORKS)
    embeddings = torch.nn.functional.normalize(torch.randn(FACES, network.embedding_dimension), dim=1)
    photographs = Photographs(torch.rand(FACES, network.feature_dimension), embeddings)
    true = Coefficients(torch.randn(FACES, model.shape_dimension), torch.randn(FACES, model.texture_dimension))
    synthetic = SyntheticFaces(photographs.features, true)
    regressor = Regressor(network.feature_dimension, model.shape_dimension, model.texture_dimension)
    regressor.standardise(photographs.features)
    seen = torch.nn.functional.normalize(torch.randn(VALIDATION, judge.embedding_dimension), dim=1)
    augmentation = Augmentation(**asdict(params.augmentation))
    watched = photographs.features[:VALIDATION].to(device)
    monitor = Monitor(watched, seen.to(device), torch.zeros(8, 1), network.crop, model, judge)
    inputs = Stage2Inputs(model, FeatureReader(network), photographs, synthetic, SceneDistribution(), augmentation)
    return regressor.to(device), inputs, monitor


def plain_layers(network):
    """The dlib network as torch runs it by itself: channels first."""
    body = DlibNetwork()
    body.load_state_dict(network.body.state_dict())
    return body.requires_grad_(False).to(network.centre.device)


def gradient_cosine(regressor, inputs, precisions, stage1):
    """Cosine of the gradients that two precisions give on one batch."""
    gradients = []
    for params in precisions:
        batch = draw_batch(inputs, params, torch.Generator().manual_seed(1))
        loss = stage2_losses(regressor, inputs, batch, params, stage1)["total"]
        parts = torch.autograd.grad(loss, list(regressor.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return torch.nn.functional.cosine_similarity(*gradients, dim=0).item()


def run(repeats):
    """Measure; a dict of the figures."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    params = load_params()
    regressor, inputs, monitor = small_study(params)
    exact = replace(params.stage2, photographs=PHOTOGRAPHS, views=VIEWS, precision="float32")
    rough = replace(exact, precision="bfloat16")
    network, generator = inputs.reader.network, torch.Generator().manual_seed(0)
    optimizer = make_optimizer(regressor, exact)
    size = (PHOTOGRAPHS * VIEWS, 3, network.image_size, network.image_size)
    images = torch.rand(size, device=best_device()).requires_grad_()
    plain = plain_layers(network)

    def step(stage2):
        batch = draw_batch(inputs, stage2, generator)
        backward(regressor, optimizer, stage2_losses(regressor, inputs, batch, stage2, params.stage1)["total"])
        optimizer.step()

    work = dict(
        network=lambda: torch.autograd.grad(network.embed(plain(images)[1]).sum(), images),
        tuned_network=lambda: torch.autograd.grad(network(images).embedding.sum(), images),
        step=lambda: step(exact),
        look=lambda: (monitor.measure(regressor), monitor.faces(regressor)),
    )
    cosine = None
    if best_precision("auto") == "bfloat16":
        work["bfloat16_step"] = lambda: step(rough)
        cosine = gradient_cosine(regressor, inputs, (exact, rough), params.stage1)
    times = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, task in work.items():
            seconds = seconds_of(task)
            if turn:
                times[name].append(seconds)
        print(".", end="", file=sys.stderr, flush=True)
    medians = {f"{name}_ms": 1000 * statistics.median(values) for name, values in times.items()}
    return medians | dict(
        ratio=medians["step_ms"] / medians["network_ms"],
        ratio_to_tuned=medians["step_ms"] / medians["tuned_network_ms"],
        bfloat16_gradient_cosine=cosine,
        pictures=PHOTOGRAPHS * VIEWS,
        threads=torch.get_num_threads(),
        peak_memory_mb=peak_memory_mb(),
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--repeats", type=int, default=8, help="of which the median counts")
    options = parser.parse_args()
    result = run(options.repeats)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"\na step {result['step_ms']:.0f} ms, the network alone {result['network_ms']:.0f} ms: ratio "
        f"{result['ratio']:.2f}; as a step runs it {result['tuned_network_ms']:.0f} ms: {result['ratio_to_tuned']:.2f} "
        f"({result['pictures']} pictures, {result['peak_memory_mb']:.0f} MB at most)\n"
        f"a look at the validation people {result['look_ms']:.0f} ms"
    )
    if result["bfloat16_gradient_cosine"] is not None:
        cosine = result["bfloat16_gradient_cosine"]
        print(
            f"a step in bfloat16 {result['bfloat16_step_ms']:.0f} ms, cosine of its gradient to float32's {cosine:.3f}"
        )


if __name__ == "__main__":
    main()
