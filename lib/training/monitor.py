"""Monitors training: likeness of validation people, curves by DVCLive, pictures of the same faces.

The evaluation network measures likeness, as at the end (paper 4.3): this reveals early whether faces merely fool the
training network. A run has a folder outside git and DVC's outputs; the stage's plots are written from the start too.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from dvclive import Live
from PIL import Image

from lib.core.files import write_atomically
from lib.core.pictures import to_pictures
from lib.face_model.model import FaceModel
from lib.recognition.network import IdentityNetwork
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.crop import Crop
from lib.rendering.renderer import frontal_scene, render

LARGEST_SHARE = 0.1
MONITOR_YAW = math.radians(30)
PICTURES = 8
PROGRESS_ROWS = 10
RENDER_BATCH = 16
SPEEDS = ["faces_per_second", "pictures_per_second"]


def split_validation(persons, people):
    """Split photographs by person: a mask of those trained on, and rows of validation people (a tenth at most)."""
    names, first, person = np.unique(np.asarray(persons, dtype=str), return_index=True, return_inverse=True)
    count = min(people, max(1, int(len(names) * LARGEST_SHARE)))
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(f"watched:{names[i]}".encode()).digest())
    chosen = np.array(order[:count])
    trained = ~np.isin(person, chosen) if len(names) > 1 else np.ones(len(person), dtype=bool)
    return trained, np.sort(first[chosen])


@dataclass(frozen=True)
class Monitor:
    """Validation people, one photograph each, and all that it takes to measure and to draw them."""

    features: torch.Tensor  # (W, F), of the training network
    embeddings: torch.Tensor  # (W, E), of the evaluation network
    photographs: np.ndarray  # (P, S, S, 3), uint8: the first few of them, in `crop`
    crop: Crop
    face_model: FaceModel
    network: IdentityNetwork  # the evaluation network

    @torch.no_grad()
    def measure(self, regressor):
        """Mean cosines of photographs and renders, frontal and turned, and mean squares of the coefficients: a dict."""
        coefficients, cosines = regressor(self.features), []
        network = centred_on_renders(self.network, self.face_model)
        for rows in torch.arange(len(self.features)).split(RENDER_BATCH):
            scene = frontal_scene(2 * len(rows))
            scene.angles[len(rows) :, 0] = MONITOR_YAW
            images = render(self.face_model, coefficients[rows], scene, network.crop)
            views = network(images).embedding.unflatten(0, (2, len(rows)))
            cosines.append((views * self.embeddings[rows]).sum(2))
        frontal, side = torch.cat(cosines, 1).mean(1).tolist()
        return dict(
            likeness_frontal=frontal,
            likeness_side=side,
            shape_mean_square=coefficients.shape.square().mean().item(),
            texture_mean_square=coefficients.texture.square().mean().item(),
        )

    @torch.no_grad()
    def faces(self, regressor):
        """Draw the faces of `photographs` from the front: ndarray (P, S, S, 3), uint8."""
        count = len(self.photographs)
        images = render(self.face_model, regressor(self.features[:count]), frontal_scene(count), self.crop)
        return to_pictures(images)


class LiveRun:
    """Curves of one run, and with a monitor pictures, in a `folder` of its own; `plots` are the CSV files of both."""

    def __init__(self, folder, plots, monitor=None, monitor_plots=None):
        self.folder, self.monitor, self._plots = Path(folder), monitor, (plots, monitor_plots)
        self._live, self._entries = None, None

    def start(self, losses, monitors=()):
        """Begin with the entries (dict with `step` or `epoch`) of an earlier, stopped part of the run."""
        # DVCLive removes its own files of an earlier run
        self._live = Live(str(self.folder), report="html", save_dvc_exp=False, dvcyaml=None)
        self._entries = list(losses), list(monitors)
        for entry in (*losses, *monitors):
            self._log(entry)
        self._plot()
        if not self.monitor:
            return
        kept = {_name(entry["step"]) for entry in monitors}
        for path in (self.folder / "faces").glob("[0-9]*.png"):
            if path.name not in kept:
                path.unlink()
        _write_pictures(self.folder / "faces" / "photographs.png", self.monitor.photographs)
        self._show()

    def record(self, entry, kind=0):
        """Add a step's losses (0), or what the monitor measured then (1), to the curves."""
        self._log(entry)
        self._live.make_report()
        self._entries[kind].append(entry)
        self._plot()

    def look(self, regressor, step):
        """Measure the validation people, draw their faces, and return the numbers with `step`."""
        entry = dict(step=step) | self.monitor.measure(regressor)
        _write_pictures(self.folder / "faces" / _name(step), self.monitor.faces(regressor))
        self._show()
        self.record(entry, 1)
        return entry

    def _plot(self):
        for entries, path in zip(self._entries, self._plots):
            if entries:
                table = pd.DataFrame(entries).drop(columns=SPEEDS, errors="ignore")
                write_atomically(path, partial(table.to_csv, index=False, float_format="%.6g"))

    def _log(self, entry):
        self._live.step = entry["step"] if "step" in entry else entry["epoch"]
        for name, value in entry.items():
            if name not in ("step", "epoch"):
                self._live.log_metric(name, value)
        self._live.make_summary()

    def _show(self):
        rows = [np.concatenate(list(pictures), 1) for pictures in progress_pictures(self.folder).values()]
        self._live.log_image("progress.png", np.concatenate(rows))


def progress_pictures(folder):
    """Read faces of validation people by steps, ten at most, "photograph" first, from a `LiveRun`'s folder."""
    folder = Path(folder) / "faces"
    steps = sorted(folder.glob("[0-9]*.png"))
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), PROGRESS_ROWS)).round().astype(int))
    files = {"photograph": folder / "photographs.png"} | {str(int(steps[i].stem)): steps[i] for i in chosen}
    return {title: _read_pictures(path) for title, path in files.items()}


def _name(step):
    return f"{step:08d}.png"


def _write_pictures(path, pictures):
    strip = Image.fromarray(np.concatenate(list(pictures), 1))
    write_atomically(path, lambda part: strip.save(part, format="PNG"))


def _read_pictures(path):
    with Image.open(path) as file:
        strip = np.asarray(file.convert("RGB"))
    return np.stack(np.split(strip, strip.shape[1] // strip.shape[0], 1))
