"""Is the face made of one photograph, or of several, the person of another one?

    python -m benchmarks.other_photograph [FOLDER] [--held-out] [--photographs 1] [--people 52] [--json]

FOLDER has one sub-folder per person; `--held-out` leaves out those whom the study's split trains on. A face is made of
the first `--photographs` of each and drawn from the front, with the model's texture and with the photographs' pixels.
Two networks that took part in no training compare it with the next photograph of everybody, and so they do with grey
outside the same oval of both pictures (`_face` behind the network's name): people are known by their hair too, which
the model lacks. With several photographs the face of the first alone is compared too. Descriptors are centred on the
mean of their own kind: photographs, and each kind of faces. Intervals (95 %) are over people.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from lib.core import paths
from lib.core.params import FACE_ONLY, PARAMS_FILE, load_params
from lib.core.pictures import to_tensor
from lib.evaluation.bootstrap import resample_people
from lib.fitting.reconstructor import load_reconstructor
from lib.photos.align import iterate_face_crops
from lib.photos.files import read_folder
from lib.photos.store import TEST, split_people
from lib.recognition.network import load_network
from lib.rendering.renderer import frontal_scene, render_meshes

SAMPLES = 2000


def photographs_of(folder, count, params, held_out):
    """The first photographs, so many, of each person who has them: list of lists."""
    photographs = [one for one in read_folder(folder) if not one.problem]
    split = split_people(pd.Series([one.person for one in photographs]), params.photos.test_people, params.photos.seed)
    people = itertools.groupby(sorted(photographs, key=lambda one: (one.person, one.name)), lambda one: one.person)
    groups = [list(group)[:count] for person, group in people if not held_out or split[person] == TEST]
    return [group for group in groups if len(group) == count]


def describe(people, judges, reconstructors):
    """Describe the first of each person's photographs (kind "photographs"), and the faces that reconstructors make.

    `people` are lists of photographs, `reconstructors` by kind: a Reconstructor, and of how many it makes a face.
    Returns descriptors by kind and network, of the people with a face, and who has one, (N,) bool.
    """
    framings = {f"judge {name}": judge.crop for name, judge in judges.items()}
    for reconstructor, _ in reconstructors.values():
        framings |= reconstructor.framings
    found, there = {kind: {name: [] for name in judges} for kind in ("photographs", *reconstructors)}, []
    for photographs in people:
        ((records, pictures),) = iterate_face_crops(photographs, framings, len(photographs), workers=0)
        records = [record for record in records if not record["reason"]]
        there.append(bool(records))
        for name, judge in judges.items() if records else ():
            found["photographs"][name].append(judge.descriptor(to_tensor(pictures[f"judge {name}"][:1]))[1])
        for kind, (reconstructor, count) in reconstructors.items() if records else ():
            first = {name: crops[:count] for name, crops in pictures.items()}
            face, model = reconstructor.face_of_person(records[:count], first), reconstructor.face_model
            vertices, albedo = (torch.from_numpy(values)[None] for values in (face.vertices, face.albedo))
            mesh = vertices, albedo, model.triangles, model.alignment_vertices
            for name, judge in judges.items():
                found[kind][name].append(judge.descriptor(render_meshes(*mesh, frontal_scene(1), judge.crop))[1])
    found = {kind: {name: torch.cat(parts) for name, parts in each.items()} for kind, each in found.items()}
    return found, torch.tensor(there)


def compare(mine, theirs):
    """Similarity and top-1 recall of descriptors (N, E) of N people with others of the same, and intervals: dict."""
    cosines = F.normalize(mine - mine.mean(0)) @ F.normalize(theirs - theirs.mean(0)).T
    people = np.arange(len(cosines))
    resampling, row = resample_people(people, SAMPLES, seed=0), dict(people=len(people))
    for measure, values in (("similarity", cosines.diagonal().numpy()), ("top1", cosines.argmax(1).numpy() == people)):
        found = resampling.mean(values, people)
        row |= {measure: found["value"], f"{measure}_low": found["low"], f"{measure}_high": found["high"]}
    return row


@torch.inference_mode()
def main(arguments=None):
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default="data/photos/simulated")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--photographs", type=int, default=1, help="of which each face is made")
    parser.add_argument("--people", type=int, default=52, help="at most")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    options = parser.parse_args(arguments)
    params = load_params(PARAMS_FILE)
    names = params.networks.evaluation, params.networks.second_evaluation
    judges = {name + part: load_network(name + part, paths.NETWORKS) for part in ("", FACE_ONLY) for name in names}
    reconstructor, count = load_reconstructor(), options.photographs
    reconstructors = {
        "the model's texture": (replace(reconstructor, photo_textured=False), count),
        "the photographs' pixels": (reconstructor, count),
    } | ({"the first photograph's pixels": (reconstructor, 1)} if count > 1 else {})
    groups = photographs_of(options.folder, count + 1, params, options.held_out)[: options.people]
    (faces, seen), (others, seen_too) = (
        describe([group[:-1] for group in groups], judges, reconstructors),
        describe([group[-1:] for group in groups], judges, {}),
    )
    rows = []
    for (kind, each), name in itertools.product(faces.items(), judges):
        mine, theirs = each[name][seen_too[seen]], others["photographs"][name][seen[seen_too]]
        rows.append(dict(face=kind, network=name) | compare(mine, theirs))
    print(json.dumps(rows, indent=1) if options.json else pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
