"""Frames of videos as photographs: every tenth is written once, as a JPEG, to where sources may list it."""

import json
import tempfile
from pathlib import Path

import av

from lib.core.tensors import write_json

FRAME_STEP = 10  # of 25 to 30 frames a second: the next one shows much the same face
FRAME_QUALITY = 95
VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".mpg", ".mpeg", ".mkv", ".mjpg", ".mjpeg")
RECORD = "video.json"


def extract_frames(video, folder):
    """Write every `FRAME_STEP`-th frame of a video as a JPEG, unless that is done; -> them, and why there are no more.

    Frames of a video whose size or time of change differs from the record are written anew; "": it was read to its end.
    """
    try:
        status = video.stat()
    except OSError as error:
        return [], f"cannot be found: {error.strerror}"
    of = {"bytes": status.st_size, "changed": status.st_mtime_ns, "step": FRAME_STEP}
    record = folder / RECORD
    done = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if any(done.get(name) != value for name, value in of.items()):
        folder.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        for old in folder.glob("*.jpg"):
            old.unlink()
        # another process may be at the same video: each writes files of its own, and they end up the same
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            problem = _decode(video, Path(scratch))
            for frame in sorted(Path(scratch).iterdir()):
                frame.replace(folder / frame.name)
        done = of | {"problem": problem}
        write_json(record, done)  # last: frames without it are not whole
    return sorted(folder.glob("*.jpg")), done["problem"]


def _decode(video, folder):
    """Write the frames of a video; -> what is wrong with it."""
    read = 0
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                return "holds no video"
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                if read % FRAME_STEP == 0:
                    frame.to_image().save(folder / f"{read:06d}.jpg", quality=FRAME_QUALITY, subsampling=0)
                read += 1
    except av.FFmpegError as error:
        return f"a damaged video, of which {read} frames could be read: {error.strerror}"
    return "" if read else "a video without frames"
