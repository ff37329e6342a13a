"""From photographs to 3D faces: `python -m lib.reconstruct PHOTO... --out DIR`."""

import argparse
import csv
import sys
from functools import partial
from pathlib import Path

import numpy as np

from lib.core.errors import StudyError, command
from lib.core.files import SKIPPED_HEADING, check_writable, printable, refuse_to_replace
from lib.core.progress import progress
from lib.face_model.meshes import FORMATS
from lib.fitting.published import PUBLISHED
from lib.fitting.reconstructor import load_reconstructor
from lib.fitting.results import files_of_faces, write_face
from lib.photos.align import BOX_COLUMNS, iterate_face_crops
from lib.photos.files import HIDDEN, Photograph, find_photographs

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
NAME.mtl and textures/NAME.png), NAME.ply (with vertex colours), posed/NAME.glb (as photographed), NAME.json
(coefficients, pose, camera, landmarks, light) and NAME.png (photograph, fit, and the face from three sides); files that
gave no face are listed in skipped.csv. Only results of an earlier run are replaced. docs/faces.md explains all. Exit
code: 0 all photographs gave a face, 3 some files were skipped, 1 nothing was made, 2 wrong usage."""


def reconstruct(reconstructor, photographs, folder, formats=FORMATS, all_faces=False, **options):
    """Make a face of each of the photographs that `find_photographs` gives; return why some gave none, by name.

    Of several faces in one the largest and most central is taken, or with `all_faces` each: the results are called
    NAME-face1, NAME-face2, ... in this order. `options` are those of `write_face`.
    """
    skipped = {}
    for name, record, pictures in _crops(reconstructor, photographs, skipped, all_faces):
        face, portraits = reconstructor.face_of_person([record], pictures), list(pictures["portrait"])
        source, target = [_told(photographs[name], record)], name
        if all_faces and record["faces"] > 1:
            target = f"{name}-face{record['number']}"
            while target in photographs:
                target += "-"
        try:
            write_face(folder / target, face, portraits, source, reconstructor, formats, **options)
        except (OSError, StudyError) as error:
            skipped[name] = f"its results cannot be written: {error}"
    return skipped


def reconstruct_person(reconstructor, photographs, folder, formats=FORMATS, **options):
    """As `reconstruct`: one face, `person`, of photographs of one person, from the mean of their features (4.2)."""
    skipped = {}
    if found := [*_crops(reconstructor, photographs, skipped)]:
        names, records, crops = zip(*found)
        sources = [_told(photographs[name], record) for name, record in zip(names, records)]
        pictures = {framing: np.concatenate([each[framing] for each in crops]) for framing in reconstructor.framings}
        face, portraits = reconstructor.face_of_person(records, pictures), list(pictures["portrait"])
        write_face(folder / "person", face, portraits, sources, reconstructor, formats, **options)
    return skipped


def _told(path, record):
    """What results say of a photograph; the box is left, top, right, bottom in pixels, once upright."""
    box = [record[side] for side in BOX_COLUMNS]
    return dict(file=printable(path.name), faces=record["faces"], probability=record["probability"], box=box)


def _crops(reconstructor, photographs, skipped, all_faces=False):
    """Yield name, record and crops (of one) of each face; why others have none is put into `skipped`."""
    files = [Photograph(str(path.parent), path.name, name) for name, path in photographs.items()]
    waiting, groups = iter(photographs), {}
    workers = int(len(files) > BATCH)  # a process of its own costs seconds to start, which a few photographs do not
    with progress(description="photographs", total=len(files), unit="photo", silent=len(files) < 2) as bar:
        for records, pictures in iterate_face_crops(files, reconstructor.framings, BATCH, workers, all_faces):
            first = [record["number"] <= 1 for record in records]
            here = [next(waiting) for is_first in first if is_first]
            here = [here[number - 1] for number in np.cumsum(first)]
            groups |= {name: record["faces"] for name, record in zip(here, records) if record["faces"] > 1}
            skipped |= {name: record["reason"] for name, record in zip(here, records) if record["reason"]}
            found = [pair for pair in zip(here, records) if not pair[1]["reason"]]
            for number, (name, record) in enumerate(found):
                yield name, record, {framing: crops[number : number + 1] for framing, crops in pictures.items()}
            bar.update(sum(first))
    if groups and not all_faces:
        shown = ", ".join(f"{photographs[name].name} ({count} faces)" for name, count in [*groups.items()][:5])
        print(
            f"{len(groups)} of the photographs show several faces, of which the largest and most central one was used: "
            f"{printable(shown)}{', ...' if len(groups) > 5 else ''}"
        )


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m lib.reconstruct",
        description="Reconstruct the 3D face on each photograph, and how it was photographed.",
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
    parser.add_argument("--no-fit", action="store_true", help="the regressor's face alone, without pose and landmarks")
    parser.add_argument("--model-texture", action="store_true", help="the face model's texture, not the photo's pixels")
    parser.add_argument("--turntable", action="store_true", help="turntable/NAME.webp too: the face turns")
    parser.add_argument(
        "--regressor",
        metavar="FILE",
        help=f"a trained regressor (default: {PUBLISHED}; with another face model or network, the study's own)",
    )
    return parser.parse_args(arguments)


@command(OSError)
def main(arguments=None):
    """Reconstruct what the command line names; return the exit code."""
    chosen = _parse(arguments)
    photographs, others = find_photographs(chosen.photographs)
    check_writable(chosen.out)
    names = ["person"] if chosen.same_person else photographs
    refuse_to_replace([*files_of_faces(chosen.out, names, chosen.formats, chosen.turntable), chosen.out / SKIPPED])
    reconstructor = load_reconstructor(chosen.regressor, not chosen.no_fit, not chosen.model_texture)
    work = reconstruct_person if chosen.same_person else partial(reconstruct, all_faces=chosen.all_faces)
    work = partial(work, turntable=chosen.turntable)
    skipped = work(reconstructor, photographs, chosen.out, chosen.formats)
    made = len(photographs) - len(skipped)
    print(f"{made} of {len(photographs)} photographs gave a face; results in {printable(chosen.out)}")
    reasons = {photographs[name]: reason for name, reason in skipped.items()} | others
    try:
        _write_skipped(chosen.out / SKIPPED, reasons)
    except OSError as error:  # such as a full disk
        print(f"error: {printable(chosen.out / SKIPPED)} cannot be written: {error.strerror}", file=sys.stderr)
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
