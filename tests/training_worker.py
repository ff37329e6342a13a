"""What test_processes starts as processes of their own: a run on the small world, and one step's loss and gradients."""

import sys
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from conftest import ROOT
from small_world import EMBEDDING, SHAPE, TEXTURE, SmallNetwork, small_face_model

from lib.core.params import load_params
from lib.core.processes import average_gradients, joined, mean_over_processes, rank
from lib.core.tensors import save_tensors
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.scenes import SceneDistribution
from lib.training.augmentation import Augmentation
from lib.training.regressor import Regressor
from lib.training.stage1 import make_synthetic_faces, train_stage1
from lib.training.stage2 import Stage2Inputs, draw_batch, stage2_losses, train_stage2

PARAMS = load_params(ROOT / "params.yaml")
STAGE1 = replace(PARAMS.stage1, faces=80, epochs=20, batch_size=16)
SMALL = dict(steps=30, photographs=4, distribution_batch=8, synthetic_faces=8, checkpoint_steps=1)
# bfloat16 would round the parts of two processes otherwise than the whole of one
STAGE2 = replace(PARAMS.stage2, **SMALL, precision="float32")


def small_study(folder):
    """Everything that the stages start from, the same in every process."""
    folder.mkdir(parents=True, exist_ok=True)
    model, network = small_face_model(folder), SmallNetwork()
    reader, scenes = FeatureReader(network), SceneDistribution()
    synthetic = make_synthetic_faces(model, reader, STAGE1.faces, 1, scenes, folder / "pairs")
    generator = torch.Generator().manual_seed(5)
    embeddings = torch.nn.functional.normalize(torch.randn(20, EMBEDDING, generator=generator), dim=1)
    torch.manual_seed(0)
    regressor = Regressor(network.feature_dimension, SHAPE, TEXTURE)
    regressor.standardise(synthetic.features)
    photographs = Photographs(synthetic.features[:20], embeddings)
    return regressor, Stage2Inputs(model, reader, photographs, synthetic, scenes)


def first_step(regressor, inputs):
    """Loss and gradients of the first step, over all processes."""
    inputs = replace(inputs, augmentation=Augmentation(0.03, 0.03, 3.0, 1.0, 0.02, 0.2))
    batch = draw_batch(inputs, STAGE2, torch.Generator().manual_seed(7))
    terms = stage2_losses(regressor, inputs, batch, STAGE2, STAGE1)
    terms["total"].backward()
    average_gradients(regressor.parameters())
    gradients = {f"gradient.{name}": parameter.grad for name, parameter in regressor.named_parameters()}
    regressor.zero_grad()
    return gradients | {name: mean_over_processes(term.detach()) for name, term in terms.items()}


def main(folder, processes):
    folder = Path(folder)
    torch.set_num_threads(1)
    with joined() if processes > 1 else nullcontext():
        regressor, inputs = small_study(folder / f"study-{rank()}")
        result = first_step(regressor, inputs)
        if processes == 1:
            # stage 1 is not shared out: features are made once, and the rest takes seconds
            alone = deepcopy(regressor)
            train_stage1(alone, inputs.synthetic, STAGE1, folder / "stage1")
            result |= {f"stage1.{name}": tensor for name, tensor in alone.state_dict().items()}
        train_stage2(regressor, inputs, replace(STAGE2, processes=processes), STAGE1, folder / "stage2")
        result |= {f"stage2.{name}": tensor for name, tensor in regressor.state_dict().items()}
        save_tensors(folder / f"result-{rank()}.safetensors", result, {})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
