"""From photographs to 3D faces: `python -m lib.reconstruct PHOTO... --out DIR`."""

import argparse
import csv
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.files import (
    MADE_HERE,
    SKIPPED_HEADING,
    check_writable,
    printable,
    refuse_to_replace,
    write_atomically,
)
from lib.core.params import FULL, PARAMS_FILE, RECOMMENDED, load_params
from lib.core.pictures import to_pictures
from lib.core.progress import progress
from lib.core.tensors import write_json
from lib.face_model.meshes import FORMATS, files_of, save_mesh
from lib.face_model.model import FaceModel
from lib.photos.align import BOX_COLUMNS, iterate_face_crops
from lib.photos.files import HIDDEN, Photograph
from lib.photos.given import find_photographs
from lib.recognition.reader import FeatureReader, load_reader
from lib.rendering.crop import Crop
from lib.rendering.renderer import frontal_scene, render_meshes
from lib.training.regressor import Regressor

PORTRAIT = Crop(320, ((0.36, 0.42), (0.64, 0.42), (0.39, 0.7), (0.61, 0.7)))
BATCH = 16
SOME_SKIPPED = 3
SKIPPED = "skipped.csv"

EXAMPLES = """examples:
  python -m lib.reconstruct me.jpg --out build/faces
  python -m lib.reconstruct holiday/ --out build/faces --formats glb
  python -m lib.reconstruct one.jpg two.jpg three.jpg --same-person --out build/faces
  python -m lib.reconstruct group.jpg --all-faces --out build/faces
  python -m lib.reconstruct me.jpg --out build/faces --regressor data/regressors/no_batch.safetensors

For each photograph NAME.jpg the folder receives NAME.glb and NAME.obj (the neutral face with a texture, for NAME.obj in
NAME.mtl and textures/NAME.png), NAME.ply (with vertex colours), NAME.json (its coefficients) and NAME.png (photograph
and face side by side); files that gave no face are listed in skipped.csv. Only results of an earlier run are replaced.
Exit code: 0 all photographs gave a face, 3 some files were skipped, 1 nothing was made, 2 wrong usage."""


@dataclass(frozen=True)
class Reconstructor:
    """All that turns a photograph into a face: what reads it, the regressor and the face model."""

    reader: FeatureReader
    regressor: Regressor
    face_model: FaceModel

    @classmethod
    def load(cls, networks, regressor, face_model):
        """Read the three.

        Parameters
        ----------
        networks : lib.core.params.NetworksParams
            Those that the regressor was trained with.
        regressor, face_model : path-like

        Raises
        ------
        StudyError
            A file is missing, or the three do not fit one another.
        """
        if Path(regressor).suffix != ".safetensors":
            raise StudyError(f"{regressor} is no regressor: those are the .safetensors files in data/regressors")
        for path in (regressor, face_model, paths.NETWORKS / f"{networks.training}.safetensors"):
            if not Path(path).is_file():
                raise StudyError(f"{path} is missing: run the study first (make study, or dvc repro)")
        # neutral faces: of the expressions the least that a model can have is read
        model = FaceModel.load(face_model, expression_dimension=1)
        regressor = Regressor.load(regressor)
        return cls(load_reader(networks, regressor.feature_dimension), regressor, model)

    @torch.inference_mode()
    def faces(self, features):
        """Features (B, F) to coefficients, vertices (B, N, 3) in mm, albedo and portraits uint8 (B, H, W, 3)."""
        coefficients = self.regressor(features)
        vertices = self.face_model.vertices(coefficients.shape)
        albedo = self.face_model.albedo(coefficients.texture)
        model = self.face_model
        images = render_meshes(
            vertices, albedo, model.triangles, model.alignment_vertices, frontal_scene(len(vertices)), PORTRAIT
        )
        return coefficients, vertices.numpy(), albedo.numpy(), to_pictures(images)


def reconstruct(reconstructor, photographs, folder, formats=FORMATS, workers=1, all_faces=False):
    """Make a face of each of the photographs that `find_photographs` gives.

    Of several faces in one the largest and most central is taken, or with `all_faces` each: the results are called
    NAME-face1, NAME-face2, ... in this order. A file that is no result of an earlier run is never replaced. `workers`
    processes read photographs and detect faces ahead; 0 for few photographs.

    Returns
    -------
    dict of str to str
        The photographs that gave no face, and why.
    """
    skipped = {}
    for names, records, pictures in _crops(reconstructor, photographs, workers, all_faces):
        skipped |= {name: record["reason"] for name, record in zip(names, records) if record["reason"]}
        used = [(name, record) for name, record in zip(names, records) if not record["reason"]]
        if not used:
            continue
        faces = reconstructor.faces(reconstructor.reader.of_crops(pictures))
        for number, (name, record) in enumerate(used):
            face = [values[number] for values in faces]
            source, target = [_source(photographs[name], record)], folder / name
            if all_faces and record["faces"] > 1:
                target = folder / _name_of_face(name, record["number"], photographs)
            try:
                _write(target, face, [pictures["portrait"][number]], source, reconstructor, formats)
            except (OSError, StudyError) as error:
                skipped[name] = f"its results cannot be written: {error}"
    return skipped


def reconstruct_person(reconstructor, photographs, folder, formats=FORMATS, workers=1):
    """Make one face of several photographs of one person, from the mean of their features (paper 4.2).

    Parameters, returns
        As `reconstruct`. The results are called `person`.
    """
    features, portraits, sources, skipped = [], [], [], {}
    for names, records, pictures in _crops(reconstructor, photographs, workers):
        for name, record in zip(names, records):
            if record["reason"]:
                skipped[name] = record["reason"]
            else:
                sources.append(_source(photographs[name], record))
        features.append(reconstructor.reader.of_crops(pictures))
        portraits += list(pictures["portrait"])
    if portraits:
        face = [values[0] for values in reconstructor.faces(torch.cat(features).mean(0, keepdim=True))]
        _write(folder / "person", face, portraits, sources, reconstructor, formats)
    return skipped


def _source(path, record):
    """What the results say of the photograph; the box is left, top, right, bottom in pixels, once it is upright."""
    box = [record[side] for side in BOX_COLUMNS]
    return dict(file=printable(path.name), faces=record["faces"], probability=record["probability"], box=box)


def _name_of_face(name, number, photographs):
    name = f"{name}-face{number}"
    while name in photographs:
        name += "-"
    return name


def _crops(reconstructor, photographs, workers, all_faces=False):
    """Yield names, records and crops of the photographs, batch by batch; say at the end which show several faces."""
    names = list(photographs)
    files = [Photograph(str(path.parent), path.name, name) for name, path in photographs.items()]
    framings = reconstructor.reader.framings | dict(portrait=PORTRAIT)
    waiting, groups = iter(names), {}
    with progress(description="photographs", total=len(files), unit="photo", silent=len(files) < 2) as bar:
        for records, pictures in iterate_face_crops(files, framings, BATCH, workers, all_faces):
            first = [record["number"] <= 1 for record in records]
            here = [next(waiting) for is_first in first if is_first]
            here = [here[number - 1] for number in np.cumsum(first)]
            groups |= {name: record["faces"] for name, record in zip(here, records) if record["faces"] > 1}
            yield here, records, pictures
            bar.update(sum(first))
    if groups and not all_faces:
        shown = ", ".join(f"{photographs[name].name} ({count} faces)" for name, count in [*groups.items()][:5])
        print(
            f"{len(groups)} of the photographs show several faces, of which the largest and most central one was used: "
            f"{printable(shown)}{', ...' if len(groups) > 5 else ''}"
        )


def _write(path, face, portraits, sources, reconstructor, formats):
    """Write everything about one face beside one another under `path` and an ending each."""
    coefficients, vertices, albedo, portrait = face
    refuse_to_replace(_results(path.parent, [path.name], formats))
    path.parent.mkdir(parents=True, exist_ok=True)
    model = reconstructor.face_model
    texture = model.atlas and model.atlas.bake(albedo)
    for kind in formats:
        save_mesh(_result(path, kind), vertices, albedo, model.triangles.numpy(), texture)
    content = dict(
        made=MADE_HERE,
        photographs=sources,
        network=reconstructor.reader.network.name,
        face_model=Path(model.source).name,
        shape=coefficients.shape.tolist(),
        texture=coefficients.texture.tolist(),
    )
    write_json(_result(path, "json"), content)
    picture = Image.fromarray(np.concatenate([*portraits, portrait], axis=1))
    info = PngInfo()
    info.add_text("Software", MADE_HERE)
    # stronger compression would take longer than all else that is done for a face
    options = dict(pnginfo=info, compress_level=1)
    write_atomically(_result(path, "png"), lambda part: picture.save(part, "PNG", **options))


def _result(path, kind):
    return path.with_name(f"{path.name}.{kind}")


def _results(folder, names, formats):
    """All files that faces of these names may replace."""
    results = [_result(folder / name, kind) for name in names for kind in (*formats, "json", "png")]
    return [*(path for result in results for path in files_of(result)), folder / SKIPPED]


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m lib.reconstruct",
        description="Reconstruct the neutral 3D face behind each photograph.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photographs", nargs="+", metavar="PHOTO", help="a photograph, or a folder of them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="receives the results")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--same-person", action="store_true", help="all photographs show one person: one face of all")
    which.add_argument("--all-faces", action="store_true", help="each face of a photograph, not the largest alone")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=FORMATS, help="of the meshes (default: all three)"
    )
    parser.add_argument(
        "--regressor",
        metavar="FILE",
        help=f"a trained regressor (default: {RECOMMENDED} in {paths.REGRESSORS}, or {FULL} without that variant)",
    )
    return parser.parse_args(arguments)


def default_regressor(params):
    """Path of the regressor that photographs are given to unless another is named."""
    return paths.REGRESSORS / f"{RECOMMENDED if RECOMMENDED in params.variants else FULL}.safetensors"


def main(arguments=None):
    """Reconstruct what the command line names; return the exit code."""
    chosen = _parse(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files may have letters that the terminal lacks
    try:
        photographs, others = find_photographs(chosen.photographs)
        check_writable(chosen.out)
        names = ["person"] if chosen.same_person else photographs
        refuse_to_replace(_results(chosen.out, names, chosen.formats))
        params = load_params(PARAMS_FILE)
        regressor = chosen.regressor or default_regressor(params)
        reconstructor = Reconstructor.load(params.networks, regressor, params.face_model.path)
        work = reconstruct_person if chosen.same_person else partial(reconstruct, all_faces=chosen.all_faces)
        # a process of its own costs seconds to start, which a few photographs do not
        workers = int(len(photographs) > BATCH)
        skipped = work(reconstructor, photographs, chosen.out, chosen.formats, workers)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    made = len(photographs) - len(skipped)
    print(f"{made} of {len(photographs)} photographs gave a face; results in {printable(chosen.out)}")
    reasons = {photographs[name]: reason for name, reason in skipped.items()} | others
    _write_skipped(chosen.out / SKIPPED, reasons)
    told = [f"skipped {printable(path)}: {reason}" for path, reason in reasons.items() if reason != HIDDEN]
    print(*told[:5], sep="\n", end="\n" if told else "", file=sys.stderr)
    if len(told) > 5:
        print(f"skipped {len(told) - 5} more: see {printable(chosen.out / SKIPPED)}", file=sys.stderr)
    return (SOME_SKIPPED if told else 0) if made else 1


def _write_skipped(path, reasons):
    """List what gave no face; an earlier run's list goes where there is nothing to list."""
    path.unlink(missing_ok=True)
    if reasons:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = [(printable(one), reason) for one, reason in reasons.items()]
            csv.writer(file).writerows([SKIPPED_HEADING.split(","), *rows])


if __name__ == "__main__":
    sys.exit(main())
