"""How fast photographs become identity features, how much memory that takes, and what 2.6 million would take.

    python -m benchmarks.photos FOLDER [--json] [--counts 1000 2000 4000]

FOLDER has one sub-folder per person, for example Labeled Faces in the Wild. Every photograph is read, detected, aligned
and embedded by dlib's and FaceRes' networks (`data/networks`: run the networks stage before). Each count is a process
of its own that goes on where the one before ended, so that the second thousand can be held against the first; a last
one finds everything done. Memory is what this process and its worker hold for themselves, sampled ten times a second;
pages of files that are being written do not count, since the system takes them back when it wants to. Run it on an
idle machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import psutil

from lib.core import paths
from lib.photos.embed import embed_photographs
from lib.photos.files import Photograph, read_folder
from lib.recognition.network import load_network

NETWORKS = ("dlib", "faceres")
PAPER = 2_600_000
"""Photographs of VGG-Face, which the paper trains on."""
LISTED = 200_000


class PeakMemory:
    """Largest memory (bytes) that this process and its children hold for themselves, while the context lasts."""

    def __enter__(self):
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        process = psutil.Process()
        while not self._stop.wait(0.1):
            own = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    memory = one.memory_info()
                except psutil.NoSuchProcess:
                    continue
                own += memory.rss - memory.shared
            self.peak = max(self.peak, own)


def measure(folder, work, count):
    """Embed the first `count` photographs of a folder, of which some may be done; -> a row of the table."""
    networks = {name: load_network(name, paths.NETWORKS) for name in NETWORKS}
    photographs = read_folder(folder)[:count]
    with PeakMemory() as memory:
        start = time.perf_counter()
        store = embed_photographs(photographs, networks, Path(work) / "store", Path(work) / "cache", 75, seed=1)
        seconds = time.perf_counter() - start
    sizes = {}
    for name in ("store", "cache"):
        sizes[name] = sum(path.stat().st_size for path in (Path(work) / name).rglob("*") if path.is_file())
    used = int((store.index["row"] >= 0).sum())
    return dict(photographs=len(photographs), detected=used, seconds=seconds, peak_memory=memory.peak, **sizes)


def listing_bytes():
    """Memory of a listed photograph, before it is embedded."""
    tracemalloc.start()
    listed = [
        Photograph("data/raw/vggface2", f"train/n{i // 360:06d}/{i:04d}_01.jpg", "n000002") for i in range(LISTED)
    ]
    size = tracemalloc.get_traced_memory()[0] / len(listed)
    tracemalloc.stop()
    return size


def report(rows):
    """Work out rates and what 2.6 million photographs would take from the measured rows."""
    before = dict(photographs=0)
    for row in rows:
        row["new"] = row["photographs"] - before["photographs"]
        row["per_second"] = row["new"] / row["seconds"]
        before = row
    fresh = [row for row in rows if row["new"]]
    rate = sum(row["new"] for row in fresh) / sum(row["seconds"] for row in fresh)
    last = rows[-1]
    return dict(
        rows=rows,
        per_second=rate,
        detected_share=last["detected"] / last["photographs"],
        rerun_seconds=last["seconds"],
        paper=dict(
            photographs=PAPER,
            hours_on_1_process=PAPER / rate / 3600,
            hours_on_16_processes=PAPER / rate / 3600 / 16,
            store_bytes=PAPER * last["store"] / last["photographs"],
            cache_bytes=PAPER * last["cache"] / last["photographs"],
            listing_bytes=PAPER * listing_bytes(),
        ),
    )


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photos", description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WORK", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.folder, options.one[0], int(options.one[1]))))
        return
    with tempfile.TemporaryDirectory() as work:
        rows = []
        for count in [*options.counts, options.counts[-1]]:
            command = [sys.executable, "-m", "benchmarks.photos", options.folder, "--one", work, str(count)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    result = report(rows)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'photographs':>12} {'new':>6} {'detected':>9} {'seconds':>8} {'new/s':>6} {'peak MB':>8}")
    for row in rows:
        counts = f"{row['photographs']:12} {row['new']:6} {row['detected']:9}"
        print(f"{counts} {row['seconds']:8.1f} {row['per_second']:6.1f} {row['peak_memory'] / 1e6:8.0f}")
    paper = result["paper"]
    gigabytes = {name: paper[f"{name}_bytes"] / 1e9 for name in ("store", "cache", "listing")}
    print(
        f"{PAPER:,} photographs: {paper['hours_on_1_process']:.0f} h on one process, "
        f"{paper['hours_on_16_processes']:.0f} h on 16; store {gigabytes['store']:.0f} GB, "
        f"cache {gigabytes['cache']:.0f} GB, listing {gigabytes['listing']:.2f} GB of memory"
    )


if __name__ == "__main__":
    main()
