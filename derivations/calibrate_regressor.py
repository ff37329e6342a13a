"""Calibrate the shapes of the published regressor on real photographs: `models/photographs.safetensors`.

Stage 1 learns from renders and reads all photographs with the same bias, which stage 2 keeps: the mouth is too near to
the nose, the jaw too narrow. The landmarks of one photograph tell little of a shape; averaged over many people, they
tell the bias (docs/training.md, "Calibration").

After `derivations.publish_regressor`, with the photographs that the regressor was trained on, in five minutes:

    python -m derivations.calibrate_regressor path/to/lfw
"""

import argparse

import numpy as np
import pandas as pd
import torch

from lib.core.errors import StudyError
from lib.core.params import PARAMS_FILE, load_params
from lib.core.progress import progress
from lib.core.tensors import read_json, write_json
from lib.fitting.photograph import find_landmarks
from lib.fitting.published import PUBLISHED, facts_file
from lib.fitting.reconstructor import load_reconstructor
from lib.photos.align import iterate_face_crops
from lib.photos.files import read_folder
from lib.photos.store import TRAIN, split_people

BATCH = 32
VARIANCE = 1.0
"""Of each coefficient about what the regressor gives, when landmarks correct it: the face model's own. One face needs
far less (`lib.fitting.pose.SHAPE_VARIANCE`), but the mean over people loses what errs differently in each."""
FOLLOWED = 0.5
"""Share of the mean correction that is applied. A larger one looks more natural, but is recognised less often
(docs/training.md)."""
CALIBRATION = "calibration"


@torch.no_grad()
def read_shapes(reconstructor, photographs):
    """Shapes (N, S) that the regressor reads in photographs with a face, and those that the landmarks make of them."""
    read, corrected, fitter = [], [], reconstructor.fitter
    with progress(description="photographs", total=len(photographs), unit="photo") as bar:
        for records, pictures in iterate_face_crops(photographs, reconstructor.framings, BATCH, workers=1):
            if any(not record["reason"] for record in records):
                shapes = reconstructor.regressor(reconstructor.reader.of_crops(pictures)).shape.double().numpy()
                landmarks = find_landmarks(fitter.network, pictures["landmarks"])
                read.extend(shapes)
                corrected.extend(fitter.points.fit(*pair, VARIANCE).shape for pair in zip(landmarks, shapes))
            bar.update(len(records))
    return np.stack(read), np.stack(corrected)


def main():
    """Rewrite both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", help="folder of photographs, a sub-folder per person")
    folder = parser.parse_args().photographs
    params, facts = load_params(PARAMS_FILE), read_json(facts_file(PUBLISHED))
    if CALIBRATION in facts:
        raise StudyError(f"{PUBLISHED} is calibrated already: publish it again first")
    photographs = read_folder(folder)
    split = split_people(pd.Series([one.person for one in photographs]), params.photos.test_people, params.photos.seed)
    first = {one.person: one for one in reversed(photographs) if split[one.person] == TRAIN}
    reconstructor = load_reconstructor(PUBLISHED, photo_textured=False)
    read, corrected = read_shapes(reconstructor, [first[person] for person in sorted(first)])
    shift = FOLLOWED * (corrected - read).mean(0)
    reconstructor.regressor.map_shapes(torch.eye(len(shift)), torch.from_numpy(shift).float())
    reconstructor.regressor.save(PUBLISHED)
    facts["held_out_people_before_calibration"] = facts.pop("held_out_people")
    facts[CALIBRATION] = dict(people=len(read), shift=shift.round(4).tolist())
    write_json(facts_file(PUBLISHED), facts)
    print(f"{len(read)} people, shapes moved by {np.linalg.norm(shift):.2f} standard deviations in all")


if __name__ == "__main__":
    main()
