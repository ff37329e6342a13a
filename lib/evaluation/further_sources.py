"""Trained on one source of photographs, tested on others (paper section 4)."""

from dataclasses import replace

import numpy as np
import torch

from lib.core import paths
from lib.evaluation.protocol import evaluate_faces
from lib.photos.people import load_truth
from lib.photos.store import load_feature_store, load_photographs


@torch.no_grad()
def evaluate_sources(setup, regressor):
    """Evaluate a trained regressor on each of `evaluate.test_sources`, the people of other sources (paper 4).

    Similarities are compared with the pairs of the held-out people, as the paper compares all sources with LFW's.
    Returns metrics, and cosines (N,) of N photographs and their renders, by source.
    """
    metrics, similarities = {}, {}
    for name, source in setup.protocol.test_sources.items():
        folder = paths.TEST_PHOTOS / name
        store = load_feature_store(folder)
        everyone = load_photographs(store, np.arange(len(store.crops)), setup.reader, setup.network)
        photographed = everyone.at_most(source.photographs) if source.photographs else everyone
        truth = load_truth(folder / "truth.h5", None)
        photographs = dict(everything=everyone, photographed=photographed, compared=setup.photographed)
        other = replace(setup, **photographs, people={}, truth=truth, frontal_only=True, further_judges={})
        faces = regressor(photographed.features)
        metrics[name], seen = evaluate_faces(other, faces, averaged=other.averaged(regressor) if truth else None)
        similarities[name] = (photographed.embeddings * seen.frontal).sum(1)
    return metrics, similarities
