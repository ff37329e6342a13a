"""What a step of stage 2 costs beside the frozen network's own work.

    python -m benchmarks.training [--json] [--repeats 8]

A step draws 16 photographs in 3 views, with the full face model and the dlib network, and takes the gradient of all
losses to the regressor. The network alone goes forward and backward over the same 48 pictures. Both alternate in one
run, on two threads; the medians count. Needs the stages `face_model` and `networks` (`dvc repro networks face_model`);
features and embeddings are random, since their values cost nothing.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from dataclasses import replace

import torch

from lib.face_model import Coefficients, FaceModel
from lib.params import load_params
from lib.recognition import load_network
from lib.regressor import Regressor
from lib.scenes import SceneDistribution
from lib.synthetic_faces import Pairs
from lib.training import Photographs, Setting, draw_batch, stage2_losses

PHOTOGRAPHS, VIEWS, FACES = 16, 3, 200


def seconds_of(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run(repeats):
    """Measure; a dict of the figures."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    params = load_params()
    model, network = FaceModel.load("data/face_model/full.h5"), load_network("dlib", "data/networks")
    setting = Setting(model, network, SceneDistribution())
    regressor = Regressor(network.feature_dimension, model.shape_dimension, model.texture_dimension)
    embeddings = torch.nn.functional.normalize(torch.randn(FACES, network.embedding_dimension), dim=1)
    photographs = Photographs(torch.rand(FACES, network.feature_dimension), embeddings)
    true = Coefficients(torch.randn(FACES, model.shape_dimension), torch.randn(FACES, model.texture_dimension))
    pairs = Pairs(photographs.features, true)
    stage2 = replace(params.stage2, photographs=PHOTOGRAPHS, views=VIEWS)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(PHOTOGRAPHS * VIEWS, 3, network.image_size, network.image_size).requires_grad_()

    def network_alone():
        network(images).embedding.sum().backward()
        images.grad = None

    def step():
        batch = draw_batch(setting, photographs, pairs, stage2, generator)
        stage2_losses(regressor, setting, batch, stage2, params.stage1)["total"].backward()

    network_alone(), step()
    alone, steps = [], []
    for _ in range(repeats):
        alone.append(seconds_of(network_alone))
        steps.append(seconds_of(step))
        print(".", end="", file=sys.stderr, flush=True)
    return dict(
        pictures=PHOTOGRAPHS * VIEWS,
        threads=torch.get_num_threads(),
        network_ms=1000 * statistics.median(alone),
        step_ms=1000 * statistics.median(steps),
        ratio=statistics.median(steps) / statistics.median(alone),
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
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
        f"{result['ratio']:.2f} ({result['pictures']} pictures, {result['peak_memory_mb']:.0f} MB at most)"
    )


if __name__ == "__main__":
    main()
