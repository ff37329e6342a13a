"""Sources of photographs beside the held-out people: each is embedded, and every regressor goes through all."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from ruamel.yaml import YAML
from small_world import SHAPE, TEXTURE, SmallNetwork, small_face_model, small_protocol

from lib.core.errors import StudyError
from lib.core.params import SourceParams, load_params
from lib.core.tensors import write_json
from lib.evaluation.protocol import evaluate_faces, reconstruct_all
from lib.evaluation.setup import EvaluationSetup, evaluate_sources
from lib.face_model.meshes import save_mesh
from lib.face_model.model import Coefficients
from lib.photos import further_sources
from lib.photos.people import load_truth, save_scans
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.scenes import SceneDistribution
from lib.report import tables

SOURCES = {
    "gallery": dict(source="folder", path="gallery", photographs=0),
    "videos": dict(source="micc", path="videos", photographs=2),
}
PROTOCOL = small_protocol(test_sources={name: SourceParams(**source) for name, source in SOURCES.items()})


def regressor(features):
    """The features are the coefficients."""
    return Coefficients.split(features, SHAPE)


def write_store(folder, faces, descriptors, persons, conditions):
    """Write a feature store of photographs whose features are the coefficients of their faces."""
    folder.mkdir(parents=True)
    split = ["train", *["test"] * (len(persons) - 1)]  # of which a source to test on knows nothing
    index = dict(row=range(len(persons)), path="", person=persons, condition=conditions, split=split)
    pd.DataFrame(index).to_parquet(folder / "index.parquet")
    np.save(folder / "features_small.npy", faces.cat().numpy())
    np.save(folder / "descriptors_small.npy", descriptors)
    np.save(folder / "crops.npy", np.zeros((len(persons), 2, 2, 3), np.uint8))


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """-> a setup with four held-out people; a gallery of six others, and three whose scans are known."""
    monkeypatch.chdir(tmp_path)
    model, network = small_face_model(tmp_path), SmallNetwork()
    generator = torch.Generator().manual_seed(0)
    shape, texture = (torch.randn(13, size, generator=generator).repeat_interleave(2, 0) for size in (SHAPE, TEXTURE))
    faces, fixed = Coefficients(shape, texture), (model, network, FeatureReader(network), SceneDistribution())
    seen = reconstruct_all(EvaluationSetup(None, None, {}, *fixed, PROTOCOL, None), faces).frontal
    persons = np.repeat(np.array([*"abcdefghijklm"], object), 2)
    once, often = slice(8, 20, 2), [20, 21, 21, 22, 23, 23, 24, 25, 25]
    write_store(tmp_path / "data/test_photos/gallery", faces[once], seen[once], persons[once], "")
    conditions = ["indoor", "outdoor", "outdoor"] * 3
    write_store(tmp_path / "data/test_photos/videos", faces[often], seen[often], persons[often], conditions)
    for row in range(20, 26, 2):
        vertices, albedo = model.vertices(shape[[row]])[0].numpy(), np.zeros((model.vertex_count, 3))
        save_mesh(tmp_path / f"{persons[row]}.ply", vertices, albedo, model.triangles.numpy())
    save_scans(tmp_path / "data/test_photos/videos/truth.h5", {person: tmp_path / f"{person}.ply" for person in "klm"})
    held_out = Photographs(faces[:8].cat(), seen[:8], persons[:8], np.full(8, ""), np.arange(8))
    return EvaluationSetup(held_out, held_out, {}, *fixed, PROTOCOL, None)


def test_a_regressor_goes_through_all_sources(setup, tmp_path):
    metrics, similarities = evaluate_sources(setup, regressor)
    assert similarities["gallery"] == pytest.approx(np.ones(6), abs=1e-4)
    assert similarities["videos"].mean() == pytest.approx(metrics["videos"]["similarity"]["all"]["frontal"]["value"])
    assert list(metrics) == ["gallery", "videos"]
    gallery, videos = metrics.values()
    assert gallery["recall"]["all"]["top1"]["value"] == videos["recall"]["all"]["top1"]["value"] == 1
    assert gallery["recall"]["all"]["random_top1"]["value"] == pytest.approx(1 / 6)
    assert gallery["recall"]["all"]["top1"]["n"] == 6, "all photographs, whatever their split"
    assert videos["recall"]["all"]["top1"]["n"] == 6, "two photographs of each person"
    # everybody whose scan is known is measured, in each condition, from all photographs
    assert "geometry" not in gallery and set(videos["geometry"]) == {"all", "indoor", "outdoor"}
    assert videos["geometry"]["all"]["mean"]["n"] == 3 and videos["geometry"]["all"]["mean"]["value"] < 0.2
    # similarities are compared with the pairs of the held-out people, of whom each has two photographs
    whole, _ = evaluate_faces(setup, regressor(setup.photographed.features))
    assert gallery["similarity"]["all"]["same_below"]["n"] == whole["photographs"]["all"]["same"]["n"] == 4
    assert "same" not in gallery["photographs"]["all"] and gallery["photographs"]["all"]["different"]["n"] == 15
    assert set(gallery["similarity"]["all"]) == {"frontal", "same_below", "different_above"}

    write_json(tmp_path / "reports/metrics/evaluate/full.json", whole | dict(sources=metrics))
    methods = tables.read_methods(["full"])
    recall = tables.recall_table(methods).loc[tables.THIS_RUN]
    assert list(recall)[:6] == [(name, f"top-{k}") for name in ("test photographs", *metrics) for k in (1, 5)]
    assert recall.loc["random", ("gallery", "top-1")].startswith("0.167")
    assert tables.distance_table(methods).loc[tables.THIS_RUN].loc["full", ("videos", "same")].startswith("0.")
    geometry = tables.geometry_table(methods)
    assert list(geometry.index.get_level_values(0)) == [f"{tables.THIS_RUN}: videos", tables.PAPER, tables.PAPER]


def test_no_sources_are_no_metrics(setup):
    assert evaluate_sources(replace(setup, protocol=small_protocol()), regressor) == ({}, {})


def test_other_sources_are_seen_from_the_front_alone(setup):
    faces = regressor(setup.photographed.features)
    front = reconstruct_all(replace(setup, frontal_only=True), faces)
    whole = reconstruct_all(replace(setup, compared=setup.photographed), faces)
    assert front.pictures is None and front.views == {} and np.allclose(front.frontal, whole.frontal)
    assert len(whole.pictures) == 8 and set(whole.views) == {"random_scene", "side"}


@pytest.fixture
def embedded(tmp_path, monkeypatch, setup):
    """Pretend networks and detector: -> a function that embeds one of some sources, and what it asked for."""
    listed = [SimpleNamespace(person=person, scan=f"{person}.ply") for person in "kl"]
    calls = []

    def embed(photographs, networks, folder, cache, test_people, seed):
        calls.append((photographs, list(networks), seed))
        return folder

    monkeypatch.setattr(further_sources, "load_network", lambda name, folder: name)
    monkeypatch.setattr(further_sources, "list_photographs", lambda *source: calls.append(source) or listed)
    monkeypatch.setattr(further_sources, "embed_photographs", embed)

    def run(name, sources):
        values = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        values["evaluate"]["test_sources"] = sources
        (tmp_path / "params.yaml").write_text(json.dumps(values))
        params = load_params(tmp_path / "params.yaml")
        return further_sources.embed_source(params, name), params, listed, calls

    return run


def test_every_photograph_of_a_source_is_embedded_and_its_scans_are_kept(tmp_path, embedded):
    (tmp_path / "videos").symlink_to(tmp_path)
    folder, params, listed, calls = embedded("videos", SOURCES)
    networks = params.networks
    assert calls == [("micc", Path("videos")), (listed, networks.embedding, 0)]
    assert load_truth(folder / "truth.h5", None).persons == ("k", "l")
    with pytest.raises(StudyError, match="vidoes is unknown; did you mean videos"):
        embedded("vidoes", SOURCES)


def test_what_no_source_names_any_more_is_deleted(tmp_path, embedded):
    (tmp_path / "videos").symlink_to(tmp_path)
    (tmp_path / "data/test_photos/.gitkeep").touch()
    embedded("videos", {"videos": SOURCES["videos"]})
    assert {path.name for path in (tmp_path / "data/test_photos").iterdir()} == {"videos", ".gitkeep"}


def test_people_are_simulated_in_the_folder_of_the_store(tmp_path, monkeypatch, embedded):
    def simulate(generator, folder, people, photographs, size, seed):
        assert (people, photographs, size, seed) == (2, 3, 256, 7)
        for person in "kl":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{person}.ply").write_bytes((tmp_path / f"{person}.ply").read_bytes())

    monkeypatch.setattr(further_sources, "FaceGenerator", lambda resolution: resolution)
    monkeypatch.setattr(further_sources, "simulate_photographs", simulate)
    simulated = dict(source="simulated", path="unused", photographs=3, people=2, seed=7)
    _, params, listed, calls = embedded("gallery", {"gallery": simulated})
    assert calls[0] == ("simulated", Path("data/test_photos/gallery/simulated")) and calls[1][-1] == 7
