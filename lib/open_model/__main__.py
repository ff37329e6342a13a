"""The face model for other programs: `python -m lib.open_model export --out DIR`."""

import argparse
import shutil
import sys
from pathlib import Path

import torch

from lib.core.errors import command
from lib.core.files import write_atomically
from lib.core.params import PARAMS_FILE, load_params
from lib.face_model.meshes import face_glb
from lib.face_model.model import FaceModel

TARGETS = 20  # expressions that become morph targets; each adds 1.3 MB to the full model's file


def export(path, folder):
    """Write the mean face as ``.glb`` and copy the model's file (path) into a folder.

    The ``.glb`` has the model's texture, `TARGETS` expressions as morph targets whose weights are the model's
    coefficients, and in the mesh's `extras` the vertex of each landmark. Raises StudyError for an incomplete model.
    """
    model = FaceModel.load(path, 1, 1, TARGETS)
    vertices, albedo = model.vertices(torch.zeros(1, 1))[0].numpy(), model.albedo(torch.zeros(1, 1))[0].numpy()
    modes = {f"expression.{number:02d}": mode.numpy() for number, mode in enumerate(model.modes("expression"), 1)}
    texture = model.atlas and model.atlas.bake(albedo)
    extras = dict(landmarks=model.landmarks)
    content = face_glb(vertices, albedo, model.triangles.numpy(), texture, "lib.open_model", modes, extras)
    write_atomically(folder / f"{Path(path).stem}.glb", lambda part: part.write_bytes(content))
    write_atomically(folder / Path(path).name, lambda part: shutil.copyfile(path, part))


@command(OSError)
def main(arguments=None):
    """Export what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib.open_model", description=__doc__)
    options = parser.add_subparsers(required=True).add_parser(
        "export", help="write .glb and HDF5", description=export.__doc__.split("\n")[0]
    )
    options.add_argument("--out", required=True, type=Path, metavar="DIR", help="receives the files")
    options.add_argument("--model", metavar="FILE", help="the model's HDF5 file (default: that of params.yaml)")
    chosen = parser.parse_args(arguments)
    path = Path(chosen.model or load_params(PARAMS_FILE).face_model.path)
    export(path, chosen.out)
    print(f"{chosen.out} holds {path.stem}.glb and {path.name}")


if __name__ == "__main__":
    sys.exit(main())
