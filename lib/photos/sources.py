"""Sources of photographs by name, `photos.source` of `params.yaml`: simulated, a folder, LFW, published data sets.

``data/raw/README.md`` says where each comes from and where to put it: the error message where it lacks.
"""

import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.files import download, printable
from lib.core.progress import progress
from lib.core.tensors import fingerprint, write_json
from lib.photos import files
from lib.photos.files import Photograph, inspect_file, iterate_folder, person_of, read_folder, read_person
from lib.photos.simulated.camera import read_simulated

README = Path(__file__).parents[2] / "data" / "raw" / "README.md"

MICC_CONDITIONS = {"Indoor-Cooperative": "cooperative", "PTZ-Indoor": "indoor", "PTZ-Outdoor": "outdoor"}
"""The three videos of each subject, and what the paper calls them (4.2)."""
MICC_VIDEOS, MICC_SCANS = "Video", "Model/frontal*/obj/*.obj"
FRAMES_FOLDER = paths.CACHE / "frames"  # frames of videos, which may be made again at any time
FRAME_STEP = 10  # of 25 to 30 frames per second: the next one shows much the same face
VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".mpg", ".mpeg", ".mkv", ".mjpg", ".mjpeg")
FERET_IMAGES = "data/images"
LFW_ARCHIVE = "lfw-funneled.tgz"
LFW_URL = "https://ndownloader.figshare.com/files/5976015"
LFW_SHA256 = "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"
LFW_PHOTOGRAPHS = 13_233


def source_folder(source, path):
    """Return where a source lies: `path`, but for simulated photographs."""
    return paths.PHOTOS / "simulated" if source == "simulated" else Path(path)


def list_photographs(source, path):
    """List one of `SOURCES` in its folder ("lfw": it is downloaded to there); StudyError: unknown, or no photograph."""
    if source not in SOURCES:
        raise StudyError(f"There is no source of photographs {source!r}: choose one of {', '.join(SOURCES)}.")
    return SOURCES[source](path)


@dataclass(frozen=True)
class DataSet:
    """A published data set by its name: what lists its folder, and the `layout` that an error asks for."""

    name: str
    read: Callable[[Path], Iterator[Photograph]]
    layout: str

    def list(self, folder):
        """List all files of the data set; StudyError, with its section, where the folder is laid out differently."""
        folder = Path(folder)
        if not os.path.isdir(folder):
            raise StudyError(f"{folder} is missing.\n\n{instructions(self.name)}")
        photographs = list(self.read(folder))
        if all(photograph.problem for photograph in photographs):
            found = files.first_problems(photographs)
            raise StudyError(f"{folder} does not hold {self.layout}:{found}\n\n{instructions(self.name)}")
        return photographs


def instructions(name):
    """Return the section of ``data/raw/README.md`` on a data set: how to obtain it, and where to put it."""
    text = README.read_text(encoding="utf-8")
    return re.search(rf"^#+ [^\n]*`{name}/`.*?(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)[0].strip()


def read_lfw(data_home):
    """List Labeled Faces in the Wild, funneled: found in the folder scikit-learn uses, or downloaded there (233 MB)."""
    home = Path(data_home) / "lfw_home"
    folder, archive = home / "lfw_funneled", home / LFW_ARCHIVE
    if not folder.is_dir():
        download(LFW_URL, archive, LFW_SHA256)
        with tarfile.open(archive) as content:
            # Python 3.11.0 to 3.11.3 have no filters; the archive is checked before
            content.extraction_filter = getattr(tarfile, "data_filter", None)
            content.extractall(home)
    found = sum(1 for _ in folder.glob("*/*.jpg"))
    if found != LFW_PHOTOGRAPHS:
        raise StudyError(
            f"{folder} holds {found} photographs instead of {LFW_PHOTOGRAPHS} (an interrupted extraction?): "
            "delete that folder and run again."
        )
    # without the data set's own lists of pairs
    return [photograph for photograph in read_folder(folder) if not photograph.file.endswith(".txt")]


def read_micc(folder):
    """MICC Florence: three videos of each of 53 people, ``subject_01/Video/PTZ-Indoor.mjpg``, and scans.

    Frames that somebody has put into a folder named as the video (``subject_01/PTZ-Indoor/*.jpg``) are read instead.
    """
    for subject in progress(_folders(folder), "frames of videos", unit="subject"):
        scan = next((path.relative_to(folder).as_posix() for path in sorted(subject.glob(MICC_SCANS))), "")
        for video, condition in MICC_CONDITIONS.items():
            told = {"person": person_of(subject.name), "condition": condition, "scan": scan}
            inside = sorted(path for path in (subject / video).rglob("*") if not os.path.isdir(path))
            frames = [path for path in inside if path.suffix.lower() not in VIDEO_SUFFIXES]
            for path in frames:
                yield inspect_file(path, folder, **told)
            beside = sorted((subject / MICC_VIDEOS).glob(f"{video}.*"))
            for path in (path for path in (*beside, *inside) if path.suffix.lower() in VIDEO_SUFFIXES):
                yield from _read_video(path, folder, told, "frames of this video lie beside it" if frames else "")


def _read_video(video, folder, told, problem):
    """Frames of a video as photographs, and the video itself where it has a problem."""
    file = video.relative_to(folder)
    if not problem:
        frames_folder = FRAMES_FOLDER / fingerprint(str(folder.resolve()))
        frames, problem = extract_frames(video, frames_folder / file)
        for frame in frames:
            yield inspect_file(frame, frames_folder, **told)
    if problem:
        yield Photograph(str(folder), file.as_posix(), problem=problem, **told)


def extract_frames(video, folder):
    """Write every `FRAME_STEP`-th frame of a video as a JPEG, unless it is done; -> them, and why there are no more."""
    try:
        status = video.stat()
    except OSError as error:
        return [], f"cannot be found: {error.strerror}"
    of = {"bytes": status.st_size, "changed": status.st_mtime_ns, "step": FRAME_STEP}
    record = folder / "video.json"
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
                    frame.to_image().save(folder / f"{read:06d}.jpg", quality=95, subsampling=0)
                read += 1
    except av.FFmpegError as error:
        return f"a damaged video, of which {read} frames could be read: {error.strerror}"
    return "" if read else "a video without frames"


def read_feret(folder):
    """Colour FERET: ``dvd1/data/images/00001/00001_930831_fa_a.ppm.bz2``; the pose (fa, ql, ...) is the condition."""
    for disc in (folder, *_folders(folder)):
        for person in _folders(disc / FERET_IMAGES):
            for photograph in read_person(person, folder):
                parts = Path(photograph.file).name.split(".")[0].split("_")
                yield replace(photograph, condition=parts[2] if len(parts) > 2 else "")


def read_bam(folder):
    """BAM: artworks of unknown people, flat or in one folder per medium, which becomes the condition."""
    for photograph in iterate_folder(folder):
        medium, _, file = photograph.file.rpartition("/")
        # nobody is known: every picture shows somebody else
        yield replace(photograph, person=photograph.name, condition=printable(medium)) if file else photograph


def read_vggface2(folder):
    """VGGFace2: ``train/n000002/0001_01.jpg`` and ``test/n000001/...``, person folders of 3.3 million files."""
    for part in ("train", "test"):
        for person in _folders(folder / part):
            yield from read_person(person, folder)


def _folders(folder):
    """Sub-folders that are not hidden, sorted; none where there is no folder."""
    if not os.path.isdir(folder):
        return []
    return [entry for entry in files.list_folder(folder) if os.path.isdir(entry) and not entry.name.startswith(".")]


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("micc", read_micc, f"{MICC_VIDEOS}/{{{','.join(MICC_CONDITIONS)}}}.mjpg in each subject's folder"),
        DataSet("mofa", iterate_folder, "photographs"),
        DataSet("feret", read_feret, f"{FERET_IMAGES} or dvd1/{FERET_IMAGES}"),
        DataSet("bam", read_bam, "pictures"),
        DataSet("vggface", iterate_folder, "one folder per person"),
        DataSet("vggface2", read_vggface2, "train/ or test/ with one folder per person"),
    )
}

SOURCES = {"simulated": read_simulated, "folder": read_folder, "lfw": read_lfw} | {
    name: data_set.list for name, data_set in DATA_SETS.items()
}
