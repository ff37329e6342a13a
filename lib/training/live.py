"""A training run that can be watched while it goes on: curves by DVCLive, pictures of the same faces again and again.

All lies in one folder outside git and outside DVC's outputs, since it holds times that differ from run to run:
`report.html` (curves and pictures; the page reloads itself), `plots/metrics/*.tsv` (a curve each, also for
`dvc plots show`), `plots/images/progress.png` and `faces/` (the pictures one by one).
"""

from pathlib import Path

import numpy as np
from dvclive import Live
from PIL import Image

from lib.core.files import write_atomically

PROGRESS_ROWS = 10


class LiveRun:
    """Curves and pictures of one run.

    Parameters
    ----------
    folder : path-like
        Of this run alone, such as `data/live/full`.
    monitor : lib.training.monitor.Monitor or None
        Whom to look at; None where a run has curves only.
    """

    def __init__(self, folder, monitor=None):
        self.folder, self.monitor = Path(folder), monitor
        self._live = None

    def start(self, losses, monitors=()):
        """Begin with what an earlier, stopped part of the run has recorded; nothing for a new run.

        Parameters
        ----------
        losses, monitors : sequence of dict
            With `step` or `epoch`.
        """
        # DVCLive removes its own files of an earlier run
        self._live = Live(str(self.folder), report="html", save_dvc_exp=False, dvcyaml=None)
        for entry in (*losses, *monitors):
            self._log(entry)
        if not self.monitor:
            return
        kept = {_name(entry["step"]) for entry in monitors}
        for path in (self.folder / "faces").glob("[0-9]*.png"):
            if path.name not in kept:
                path.unlink()
        _write_pictures(self.folder / "faces" / "photographs.png", self.monitor.photographs)
        self._show()

    def record(self, entry):
        """Add one recorded step's numbers to the curves."""
        self._log(entry)
        self._live.make_report()

    def look(self, regressor, step):
        """Measure the people who are watched, draw their faces, and return the numbers with `step`."""
        entry = dict(step=step) | self.monitor.measure(regressor)
        _write_pictures(self.folder / "faces" / _name(step), self.monitor.faces(regressor))
        self._show()
        self.record(entry)
        return entry

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
    """Read how the faces of the people who are watched have changed.

    Parameters
    ----------
    folder : path-like
        Of a `LiveRun` that looked at photographs.

    Returns
    -------
    dict of str to ndarray (P, S, S, 3)
        First "photograph", then the faces after so many steps ("0", "50", ...): at most ten times, evenly spread, the
        first and the last among them.
    """
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
