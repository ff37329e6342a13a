"""Measure how lips differ from the skin of forehead and cheeks in photographs: `skin_tables/lips.csv`.

Source: L. DeBruine and B. Jones, "Face Research Lab London Set" (2017, figshare 5047666, CC BY 4.0): colour-calibrated
photographs of adults without make-up, of which a folder with `london_info.csv` and `NUMBER/NUMBER_neutral.jpg` is
expected. The table holds the differences in CIELAB by ancestry and sex: mean, and standard deviation within groups.

    python -m derivations.lip_survey PHOTOGRAPHS
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion
from skimage.color import rgb2lab
from skimage.draw import polygon2mask

from derivations.skin_survey import TABLES
from lib.core.pictures import to_tensor
from lib.fitting.face_mesh import CROP, load_face_mesh
from lib.photos.align import cut_faces
from lib.photos.detect import FaceDetector
from lib.photos.read import read_picture
from lib.rendering.crop import Crop

OUTER = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
INNER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
CHEEKS, FOREHEAD = (50, 280, 205, 425, 117, 346), (151, 108, 337)
"""Landmarks of FaceMesh: edges of the lips, and middles of patches of skin."""
PATCH = 0.022
"""Radius of a patch, as a share of the crop."""
GROUPS = {"black": "african", "east_asian": "asian", "white": "caucasian"}


def read_people(folder):
    """The table of those who are photographed, of one ancestry and sex, with the `path` of the neutral photograph."""
    people = pd.read_csv(folder / "london_info.csv", dtype={"face_id": str})
    people["path"] = [folder / one / f"{one}_neutral.jpg" for one in people.face_id]
    chosen = people.face_eth.isin(GROUPS) & people.face_gender.isin(["female", "male"])
    return people[chosen & people.path.map(Path.is_file)]


def main():
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    people = read_people(Path(parser.parse_args().folder))
    detector, network = FaceDetector(), load_face_mesh()
    values = [contrast(path, detector, network) for path in people.path]
    labels = {"ancestry": people.face_eth.map(GROUPS).to_numpy(), "sex": people.face_gender.to_numpy()}
    groups = pd.DataFrame(values, columns=["L", "a", "b"]).assign(**labels).groupby(["ancestry", "sex"])
    table = groups[["L", "a", "b"]].agg(["mean", "std"]).round(1)
    table.columns = ["_".join(column) for column in table.columns]
    table.assign(people=groups.size()).to_csv(TABLES / "lips.csv", lineterminator="\n")


def contrast(path, detector, network):
    """CIELAB (3,) of the lips in a photograph less that of forehead and cheeks: medians."""
    pixels = read_picture(path).pixels
    face = (pixels, detector.detect([pixels])[0].points)
    small, large = (cut_faces([face], crop)[0] for crop in (CROP, Crop(512, CROP.points)))
    points, lab = 512 * network(to_tensor(small[None]))[0].numpy(), rgb2lab(large)
    outer, inner = (polygon2mask((512, 512), points[ring, ::-1]) for ring in (OUTER, INNER))
    places = np.stack(np.meshgrid(np.arange(512), np.arange(512)), axis=-1)[:, :, None]

    def patches(landmarks):
        near = np.linalg.norm(places - points[list(landmarks)], axis=-1) < 512 * PATCH
        return np.median(lab[near.any(axis=-1)], axis=0)

    lips = binary_erosion(outer & ~inner, iterations=2)
    return np.median(lab[lips], axis=0) - 0.5 * (patches(CHEEKS) + patches(FOREHEAD))


if __name__ == "__main__":
    main()
