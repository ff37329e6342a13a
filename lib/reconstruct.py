"""From photographs to 3D faces: `python -m lib.reconstruct PHOTO... --out DIR`."""

import argparse
import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.params import PARAMS_FILE, load_params
from lib.core.pictures import to_pictures, to_tensor
from lib.core.progress import progress
from lib.core.tensors import write_json
from lib.face_model.meshes import FORMATS, save_mesh
from lib.face_model.model import FaceModel
from lib.photos.align import iterate_face_crops
from lib.photos.files import IMAGE_SUFFIXES, Photograph
from lib.recognition.network import load_network
from lib.rendering.crop import Crop
from lib.rendering.renderer import frontal_scene, render_meshes
from lib.training.regressor import Regressor

PORTRAIT = Crop(320, ((0.36, 0.42), (0.64, 0.42), (0.39, 0.7), (0.61, 0.7)))
BATCH = 16
SOME_SKIPPED = 3

EXAMPLES = """examples:
  python -m lib.reconstruct me.jpg --out build/faces
  python -m lib.reconstruct holiday/ --out build/faces --formats glb
  python -m lib.reconstruct one.jpg two.jpg three.jpg --same-person --out build/faces
  python -m lib.reconstruct me.jpg --out build/faces --regressor data/regressors/no_batch.safetensors

For each photograph NAME.jpg the folder receives NAME.glb, NAME.ply and NAME.obj (the neutral face with vertex colours),
NAME.json (its coefficients) and NAME.png (photograph and face side by side); photographs that gave no face are listed
in skipped.csv. Exit code: 0 all photographs gave a face, 3 some were skipped, 1 nothing was made, 2 wrong usage."""


@dataclass(frozen=True)
class Reconstructor:
    """All that turns a photograph into a face: the identity network, the regressor and the face model."""

    network: torch.nn.Module
    regressor: Regressor
    face_model: FaceModel

    @classmethod
    def load(cls, network_name, regressor, face_model):
        """Read the three.

        Parameters
        ----------
        network_name : str
            The network that the regressor was trained with.
        regressor, face_model : path-like

        Raises
        ------
        StudyError
            A file is missing, or the three do not fit one another.
        """
        if Path(regressor).suffix != ".safetensors":
            raise StudyError(f"{regressor} is no regressor: those are the .safetensors files in data/regressors")
        for path in (regressor, face_model, paths.NETWORKS / f"{network_name}.safetensors"):
            if not Path(path).is_file():
                raise StudyError(f"{path} is missing: run the study first (make study, or dvc repro)")
        # neutral faces: of the expressions the least that a model can have is read
        model = FaceModel.load(face_model, expression_dimension=1)
        result = cls(load_network(network_name, paths.NETWORKS), Regressor.load(regressor), model)
        wanted = len(result.regressor.feature_mean)
        if wanted != result.network.feature_dimension:
            raise StudyError(
                f"{regressor} reads {wanted} features, {network_name} gives {result.network.feature_dimension}: "
                "it was trained with another network (networks.training in params.yaml)"
            )
        return result

    @torch.inference_mode()
    def features(self, pictures):
        """Crops uint8 (B, H, W, 3) in the network's framing to identity features (B, F)."""
        return self.network(to_tensor(pictures)).features

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


def find_photographs(places):
    """List files, and the image files of folders and their sub-folders, under a name of their own each.

    Returns
    -------
    dict of str to Path
        A name for the results of each photograph: the file's, with its folders before it where two are alike.

    Raises
    ------
    StudyError
        A place does not exist, or a folder holds no image file.
    """
    paths = []
    for place in map(Path, places):
        if not place.exists():
            raise StudyError(f"{place} does not exist")
        found = [place]
        if place.is_dir():
            found = sorted(p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not found:
            raise StudyError(f"the folder {place} holds no image file")
        paths += found
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    deepest = max(len(path.parts) for path in paths)
    # the ending belongs to the name only where me.jpg lies beside me.png
    for stems in ([path.with_suffix("") for path in paths], paths):
        for depth in range(1, deepest):
            names = ["-".join(stem.parts[-depth:]) for stem in stems]
            if len(set(names)) == len(paths):
                return dict(zip(names, paths))


def reconstruct(reconstructor, photographs, folder, formats=FORMATS, workers=1):
    """Make a face of each of the photographs that `find_photographs` gives.

    `workers` processes read photographs and detect faces ahead; 0 for few photographs.

    Returns
    -------
    dict of str to str
        The photographs that gave no face, and why.
    """
    skipped = {}
    for names, records, pictures in _crops(reconstructor, photographs, workers):
        skipped |= {name: record["reason"] for name, record in zip(names, records) if record["reason"]}
        used = [(name, record) for name, record in zip(names, records) if not record["reason"]]
        if not used:
            continue
        faces = reconstructor.faces(reconstructor.features(pictures["network"]))
        for number, (name, record) in enumerate(used):
            source = [dict(file=photographs[name].name, faces=record["faces"], probability=record["probability"])]
            face = [values[number] for values in faces]
            _write(folder / name, face, [pictures["portrait"][number]], source, reconstructor, formats)
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
                found = dict(faces=record["faces"], probability=record["probability"])
                sources.append(dict(file=photographs[name].name) | found)
        features.append(reconstructor.features(pictures["network"]))
        portraits += list(pictures["portrait"])
    if portraits:
        face = [values[0] for values in reconstructor.faces(torch.cat(features).mean(0, keepdim=True))]
        _write(folder / "person", face, portraits, sources, reconstructor, formats)
    return skipped


def _crops(reconstructor, photographs, workers):
    """Yield names, records and crops of the photographs, batch by batch."""
    names = list(photographs)
    files = [Photograph(str(path.parent), path.name, name) for name, path in photographs.items()]
    framings = dict(network=reconstructor.network.crop, portrait=PORTRAIT)
    done = 0
    with progress(description="photographs", total=len(files), unit="photo", silent=len(files) < 2) as bar:
        for records, pictures in iterate_face_crops(files, framings, BATCH, workers):
            yield names[done : done + len(records)], records, pictures
            done += len(records)
            bar.update(len(records))


def _write(path, face, portraits, sources, reconstructor, formats):
    """Write everything about one face beside one another under `path` and an ending each."""
    coefficients, vertices, albedo, portrait = face
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in formats:
        target = path.with_name(f"{path.name}.{kind}")
        save_mesh(target, vertices, albedo, reconstructor.face_model.triangles.numpy())
    content = dict(
        photographs=sources,
        network=reconstructor.network.name,
        face_model=Path(reconstructor.face_model.source).name,
        shape=coefficients.shape.tolist(),
        texture=coefficients.texture.tolist(),
    )
    write_json(path.with_name(f"{path.name}.json"), content)
    picture = Image.fromarray(np.concatenate([*portraits, portrait], axis=1))
    # stronger compression would take longer than all else that is done for a face
    picture.save(path.with_name(f"{path.name}.png"), compress_level=1)


def _check_writable(folder):
    """Make the folder of the results now rather than after the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder} cannot be made ({error.strerror}): give another --out") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StudyError(f"{folder} cannot be written to: give another --out")


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m lib.reconstruct",
        description="Reconstruct the neutral 3D face behind each photograph.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photographs", nargs="+", metavar="PHOTO", help="a photograph, or a folder of them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="receives the results")
    parser.add_argument("--same-person", action="store_true", help="all photographs show one person: one face of all")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=FORMATS, help="of the meshes (default: all three)"
    )
    parser.add_argument(
        "--regressor",
        default=paths.REGRESSORS / "full.safetensors",
        metavar="FILE",
        help="a trained regressor (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    """Reconstruct what the command line names; return the exit code."""
    chosen = _parse(arguments)
    try:
        photographs = find_photographs(chosen.photographs)
        _check_writable(chosen.out)
        params = load_params(PARAMS_FILE)
        reconstructor = Reconstructor.load(params.networks.training, chosen.regressor, params.face_model.path)
        work = reconstruct_person if chosen.same_person else reconstruct
        # a process of its own costs seconds to start, which a few photographs do not
        workers = int(len(photographs) > BATCH)
        skipped = work(reconstructor, photographs, chosen.out, chosen.formats, workers)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    made = len(photographs) - len(skipped)
    print(f"{made} of {len(photographs)} photographs gave a face; results in {chosen.out}")
    if not skipped:
        return 0
    with (chosen.out / "skipped.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("photograph", "reason"), *((photographs[name], skipped[name]) for name in skipped)]
        )
    for name, reason in list(skipped.items())[:5]:
        print(f"skipped {photographs[name]}: {reason}", file=sys.stderr)
    return SOME_SKIPPED if made else 1


if __name__ == "__main__":
    sys.exit(main())
