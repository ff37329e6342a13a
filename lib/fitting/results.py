"""The files of a face: meshes, numbers, and a card that shows the photograph, the fit and the face from three sides."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.core.files import MADE_HERE, refuse_to_replace, write_atomically
from lib.core.tensors import write_json
from lib.face_model.meshes import files_of, save_mesh
from lib.fitting.turntable import save_turntable

POSED, TURNTABLE = "posed", "turntable"  # folders of the meshes with pose and expression, and of the animations
USE = "not for identifying people, nor for deciding anything about them: docs/model-card.md"


def write_face(path, face, portraits, sources, reconstructor, formats, turntable=False):
    """Write everything about one `Face` of a `Reconstructor`, under `path`, which has no ending, and an ending each.

    `portraits` (H, W, 3), uint8, are its photographs in the framing `PORTRAIT`, `sources` the dicts of what is told of
    each; `formats` are of the meshes. StudyError: a file would be replaced that is no result, or no disc space is left.
    """
    refuse_to_replace(files_of_faces(path.parent, [path.name], formats, turntable))
    path.parent.mkdir(parents=True, exist_ok=True)
    files, model, fits = _results(path, formats, turntable), reconstructor.face_model, face.fits
    triangles, texture = model.triangles.numpy(), face.texture
    if model.atlas and not texture:
        texture = model.atlas.bake(face.albedo)
    for kind in formats:
        save_mesh(files[kind], face.vertices, face.albedo, triangles, texture)
    if "glb" in formats and len(fits) == 1:
        files[POSED].parent.mkdir(exist_ok=True)
        save_mesh(files[POSED], fits[0].posed, face.albedo, triangles, texture)
    if turntable:
        save_turntable(files[TURNTABLE], face, model)
    told = [dict(source) for source in sources]
    for one, fit in zip(told, fits):
        one["fit"] = fit.facts(model)
    content = dict(
        made=MADE_HERE,
        use=USE,
        photographs=told,
        network=reconstructor.reader.network.name,
        face_model=Path(model.source).name,
        shape=face.coefficients.shape.tolist(),
        texture=face.coefficients.texture.tolist(),
    )
    write_json(files["json"], content)
    card = Image.fromarray(np.concatenate([*portraits, *(fit.overlay for fit in fits), *face.views], axis=1))
    info = PngInfo()
    info.add_text("Software", MADE_HERE)
    # stronger compression would take longer than all else that is done for a face
    options = dict(pnginfo=info, compress_level=1)
    write_atomically(files["png"], lambda part: card.save(part, "PNG", **options))


def files_of_faces(folder, names, formats, turntable=False):
    """All files that `write_face` may replace for faces of these names."""
    results = [path for name in names for path in _results(folder / name, formats, turntable).values()]
    return [path for result in results for path in files_of(result)]


def _results(path, formats, turntable):
    """Where each kind of result of a face lies."""
    files = {kind: path.with_name(f"{path.name}.{kind}") for kind in (*formats, "json", "png")}
    if "glb" in formats:
        files[POSED] = path.parent / POSED / f"{path.name}.glb"
    if turntable:
        files[TURNTABLE] = path.parent / TURNTABLE / f"{path.name}.webp"
    return files
