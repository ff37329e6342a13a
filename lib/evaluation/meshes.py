"""Measure any method's meshes against scans: `python -m lib.evaluation.meshes PREDICTIONS --truth SCANS --out DIR`."""

import argparse
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation

from lib.core.errors import StudyError, command
from lib.core.files import MADE_BY, check_writable, refuse_to_replace, write_atomically
from lib.core.progress import progress
from lib.core.tensors import write_json
from lib.evaluation.mesh_errors import ALIGNMENTS, DISTANCES, NOW_CROP, PROTOCOLS, SCALINGS, Protocol, measure, place
from lib.evaluation.mesh_files import UNITS, find_pairs, read_scan
from lib.face_model.meshes import FORMATS, save_mesh
from lib.figures import PIXELS_PER_INCH, cumulative_errors
from lib.figures_faces import error_colours, error_map
from lib.rendering.rasterize import rasterize

MADE = f"{MADE_BY}evaluation.meshes"
TABLES = ("people.csv", "meshes.csv", "summary.json", "cumulative.png")
SOME_FAILED = 3
UNPLACED = (ValueError, np.linalg.LinAlgError)
"""What `measure` and `place` raise for a mesh that does not lie on its scan."""
MILLIMETRES = (1, 2, 3, 5, 10)  # of which the share of the points below is told
LARGEST = 5.0  # mm at the end of the error maps' colours
VIEWS, VIEW_SIZE = (-45, 0, 45), 320  # turns in degrees of the error maps; pixels per side

EXAMPLES = """examples:
  python -m lib.evaluation.meshes results/mica --truth scans --unit m --out build/mica
  python -m lib.evaluation.meshes results/mica --truth scans --protocol now --out build/mica
  python -m lib.evaluation.meshes mine.ply --truth scan.ply --scale none --crop 80 --out build/mine

Only results of an earlier run are replaced. Exit code: 0 all meshes were measured, 3 some failed, 1 none, 2 wrong
usage. docs/evaluate-meshes.md explains the protocols, the results, and how files and landmarks are named."""


def evaluate(pairs, protocol, folder, formats=()):
    """Measure a list of `Pair`, and write tables, figures and maps (in `formats`, or none) into a folder.

    Returns what ``summary.json`` holds; `failed` says why meshes were not measured.
    """
    rows, distances, failed = [], {}, {}
    for scaling in protocol.scalings:
        factor = _global_scale(pairs, protocol, rows) if scaling == "global" else 1.0
        for pair in progress(pairs, f"scaling {scaling}", unit="mesh"):
            try:
                face, scan = pair.prediction.read().scaled(factor), read_scan(pair.scan)
                errors = measure(face, scan, protocol, scaling == "mesh")
            except UNPLACED as error:
                failed[pair.name] = f"{pair.prediction.path} cannot be measured against {pair.scan.path}: {error}"
                continue
            counted = errors.distances[~np.isnan(errors.distances)]
            distances.setdefault(scaling, []).append(counted)
            rows.append(_row(pair, scaling, errors, counted, factor))
            if formats and scaling == protocol.scalings[0]:
                _write_map(folder / "maps" / pair.name, errors, f"{pair.name}: {errors.mean:.2f} mm", formats)
    if not rows:
        raise StudyError(next(iter(failed.values())))
    meshes, distances = pd.DataFrame(rows), {scaling: np.concatenate(parts) for scaling, parts in distances.items()}
    people = meshes.drop(columns="mesh").groupby(["person", "scaling"], as_index=False).mean()
    results = {scaling: _summary(people[people.scaling == scaling], parts) for scaling, parts in distances.items()}
    counts = dict(people=people.person.nunique(), meshes=meshes.mesh.nunique(), failed=failed)
    summary = dict(made=MADE, protocol=asdict(protocol), **counts, results=results)
    for name, table in (("people.csv", people), ("meshes.csv", meshes)):
        write_atomically(folder / name, partial(table.to_csv, index=False, float_format="%.6g"))
    _write_figure(folder / "cumulative.png", cumulative_errors(distances))
    write_json(folder / "summary.json", summary)
    return summary


def _global_scale(pairs, protocol, rows):
    """The geometric mean of the scales of meshes that can be placed, which may stand in the rows."""
    scales = [row["scale"] for row in rows if row["scaling"] == "mesh"]
    for pair in [] if scales else progress(pairs, "scales", unit="mesh"):
        with suppress(*UNPLACED):  # `measure` will say why not
            scales.append(place(pair.prediction.read(), read_scan(pair.scan), protocol, True)[1].scale)
    return float(np.exp(np.log(scales).mean())) if scales else 1.0


def _row(pair, scaling, errors, counted, factor):
    """A line of the tables: errors in mm, over the scan's points but for `mean`, which may be of both directions."""
    known = dict(person=pair.person, scaling=scaling, mesh=pair.name, scale=errors.scale * factor)
    share, rms = len(counted) / len(errors.distances), np.sqrt(np.square(counted).mean())
    spread = dict(median=np.median(counted), rms=rms, p90=np.quantile(counted, 0.9))
    return dict(known, counted=share, mean=errors.mean, **spread, **errors.regions)


def _summary(people, distances):
    """Numbers of one scaling: over people, and over the points of all scans together."""
    means = people.drop(columns=["person", "scaling"]).mean().to_dict()
    points = dict(median=np.median(distances), mean=distances.mean(), deviation=distances.std())
    below = {str(limit): (distances < limit).mean() for limit in MILLIMETRES}
    return dict(over_people=dict(means, deviation=people["mean"].std()), over_points=dict(points, share_below=below))


def _write_map(path, errors, title, formats):
    """The measured part of a scan in the colours of its errors: as meshes, and seen from three sides."""
    part, colours = errors.part, error_colours(errors.distances, LARGEST)
    for kind in formats:
        save_mesh(path.with_name(f"{path.name}.{kind}"), part.vertices, colours, part.triangles)
    turns = Rotation.from_euler("Y", np.array(VIEWS)[:, None], degrees=True).as_matrix()
    centred = part.vertices - (part.vertices.min(0) + part.vertices.max(0)) / 2
    turned, normals = (values @ turns.transpose(0, 2, 1) for values in (centred, part.normals))
    turned /= np.linalg.norm(centred, axis=1).max()
    clip = np.concatenate([turned * [1, 1, -1], np.ones_like(turned[..., :1])], axis=2)
    shaded = colours * (0.7 + 0.3 * np.abs(normals[..., 2:]))
    clip, shaded = (torch.from_numpy(values).float() for values in (clip, shaded))
    fragments = rasterize(clip, torch.from_numpy(part.triangles), shaded, VIEW_SIZE, VIEW_SIZE, cull_backfaces=False)
    pictures = torch.where(fragments.covered[..., None], fragments.attributes, 1.0).numpy()
    _write_figure(path.with_name(f"{path.name}.png"), error_map(pictures, title, LARGEST))


def _write_figure(path, figure):
    options = dict(format="png", dpi=PIXELS_PER_INCH, metadata=dict(Software=MADE))
    write_atomically(path, lambda part: figure.savefig(part, **options))
    plt.close(figure)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m lib.evaluation.meshes",
        description="Measure the meshes of any method against scans, in mm.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="a folder of meshes, or one")
    parser.add_argument("--truth", required=True, type=Path, metavar="SCANS", help="a folder of scans, or one")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="receives the results")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="micc", help="default: micc")
    parser.add_argument("--unit", type=_unit, help="of the predictions: mm, cm, m, or its length in mm (glTF: m)")
    parser.add_argument("--truth-unit", type=_unit, metavar="UNIT", help="of the scans")
    parser.add_argument("--maps", choices=(*FORMATS, "none"), nargs="+", default=["ply"], help="default: ply")
    own = parser.add_argument_group("instead of the protocol's own", argument_default=argparse.SUPPRESS)
    own.add_argument("--align", choices=ALIGNMENTS, help="closest points (icp), landmarks alone, or not at all")
    own.add_argument("--scale", dest="scalings", choices=SCALINGS, nargs="+", help="per mesh, global, none; or several")
    own.add_argument("--crop", type=_crop, metavar="MM", help="around the nose tip of the scan; or now, or none")
    own.add_argument("--distance", choices=DISTANCES, help="what is measured")
    own.add_argument("--regions", action="store_true", help="nose, mouth, forehead and cheeks too (needs landmarks)")
    return parser.parse_args(arguments)


def _crop(text):
    return {"now": NOW_CROP, "none": None}[text] if text in ("now", "none") else float(text)


def _unit(text):
    return UNITS[text] if text in UNITS else float(text)


@command(OSError)
def main(arguments=None):
    """Evaluate what the command line names; return the exit code."""
    chosen = _parse(arguments)
    asked = {name: value for name, value in vars(chosen).items() if name in Protocol.__dataclass_fields__}
    protocol = replace(PROTOCOLS[chosen.protocol], **asked)
    formats = [] if "none" in chosen.maps else chosen.maps
    if any(chosen.out.resolve().is_relative_to(place.resolve()) for place in (chosen.predictions, chosen.truth)):
        raise StudyError(f"{chosen.out} lies among the meshes that are read: give another --out")
    check_writable(chosen.out)
    pairs = find_pairs(chosen.predictions, chosen.truth, protocol, chosen.unit, chosen.truth_unit)
    maps = [f"maps/{pair.name}.{kind}" for pair in pairs if formats for kind in (*formats, "png")]
    refuse_to_replace([chosen.out / name for name in (*TABLES, *maps)])
    summary = evaluate(pairs, protocol, chosen.out, formats)
    for scaling, result in summary["results"].items():
        people, points = result["over_people"], result["over_points"]
        print(
            f"scale {scaling}: mean over people {people['mean']:.3f} mm, deviation {people['deviation']:.3f}; "
            f"over points median {points['median']:.3f}, mean {points['mean']:.3f}, deviation {points['deviation']:.3f}"
        )
    print(f"{summary['meshes']} meshes of {summary['people']} people were measured; results in {chosen.out}")
    print(*(f"failed: {reason}\n" for reason in summary["failed"].values()), sep="", end="", file=sys.stderr)
    return SOME_FAILED if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
