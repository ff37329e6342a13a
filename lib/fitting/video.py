"""From a video of one person to a face, and its pose and expression in each frame: `python -m lib.fitting.video`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from lib.core.errors import StudyError, command
from lib.core.files import MADE_HERE, check_writable, printable, refuse_to_replace, write_atomically
from lib.core.progress import progress
from lib.core.tensors import write_json
from lib.face_model.meshes import files_of, save_mesh
from lib.fitting.photograph import LANDMARK_CROP, PhotographFit, find_landmarks, in_picture, similarity
from lib.fitting.reconstructor import load_reconstructor
from lib.fitting.results import USE
from lib.photos.align import POINT_COLUMNS, cut_faces
from lib.photos.detect import FaceDetector
from lib.photos.read import Picture

LONGEST_SIDE = 640  # pixels; larger frames are shrunk
MOST_READ = 40  # frames, evenly spaced, that the identity is read from
TEXTURED = 5  # one of so many of these frames gives its pixels
SMOOTHING = 0.05  # standard deviation in seconds of the Gaussian filter over time
TOLD = ("pose_degrees", "distance_mm", "camera", "expression", "residual")


def reconstruct_video(clip, folder, reconstructor):
    """Write the neutral face, an overlay video and the numbers of each frame: NAME.glb, NAME.mp4 and NAME.json.

    `clip` is any video that FFmpeg reads, of one person; of several the largest and most central at its start.
    StudyError: there is no video, or no face in it, or a file would be replaced that is no result.
    """
    if not reconstructor.fitter:
        raise StudyError("without a fit to photographs nothing is known of the frames of a video")
    mesh, video, numbers = results = [folder / f"{printable(clip.stem)}.{kind}" for kind in ("glb", "mp4", "json")]
    refuse_to_replace([*files_of(mesh), *results])
    model, rate = reconstructor.face_model, _about(clip)[0]
    landmarks, face = _read(clip, reconstructor)
    coefficients, shape = face.coefficients, face.coefficients.shape.double().numpy()
    poses = [found and in_picture(reconstructor.fitter.points.fit(found[0], shape, 0), found[1]) for found in landmarks]
    poses = smooth(poses, SMOOTHING * rate)
    save_mesh(mesh, face.vertices, face.albedo, model.triangles.numpy(), face.texture)
    frames = []
    write_atomically(video, lambda part: frames.extend(_draw(clip, part, poses, face.albedo, reconstructor.fitter)))
    content = dict(made=MADE_HERE, use=USE, video=printable(clip.name), face_model=Path(model.source).name)
    content |= dict(shape=coefficients.shape.tolist(), texture=coefficients.texture.tolist(), frames=frames)
    write_json(numbers, content)


def smooth(poses, deviation):
    """Filter poses over time, None where there is no face, by a Gaussian of a deviation in frames."""
    known = {number: _numbers(pose) for number, pose in enumerate(poses) if pose}
    values = np.zeros((len(poses), len(next(iter(known.values())))))
    values[[*known]] = [*known.values()]
    values = gaussian_filter1d(values, deviation, axis=0, mode="constant")
    smoothed = list(poses)
    for number in known:
        turn, place, (scale, distance), expression = np.split(values[number, 1:] / values[number, 0], (9, 11, 13))
        smoothed[number] = replace(
            poses[number],
            rotation=Rotation.from_matrix(turn.reshape(3, 3)).as_matrix(),  # the nearest one to their mean
            place=place,
            scale=float(np.exp(scale)),
            distance=float(np.exp(distance)),
            expression=expression,
        )
    return smoothed


def _numbers(pose):
    """A pose as what can be averaged, behind its weight."""
    return np.hstack([1, pose.rotation.ravel(), pose.place, np.log([pose.scale, pose.distance]), pose.expression])


def _read(clip, reconstructor):
    """Find the landmarks in each frame, with what maps their crop to it, or None; and the `Face`."""
    detector, fitter, framings = FaceDetector(), reconstructor.fitter, reconstructor.framings
    step = -(-_about(clip)[1] // MOST_READ) or 1
    landmarks, read, last = [], [], None
    for number, (_, picture) in enumerate(_frames(clip, "faces")):
        points = _search(detector, picture.pixels, last)
        if points is None:
            landmarks.append(None)
            continue
        last, face = points, [(picture.pixels, points)]
        found = find_landmarks(fitter.network, cut_faces(face, LANDMARK_CROP))[0]
        landmarks.append((found, similarity(LANDMARK_CROP, points)))
        if len(read) < MOST_READ and (not read or number % step == 0):
            crops = {name: cut_faces(face, crop) for name, crop in framings.items()}
            read.append((dict(zip(POINT_COLUMNS, points.ravel())), crops))
    if not any(landmarks):
        raise StudyError(f"{printable(clip)}: no face found")
    records, crops = zip(*read)
    pictures = {name: np.concatenate([each[name] for each in crops]) for name in framings}
    return landmarks, reconstructor.face_of_person(records, pictures, TEXTURED)


def _search(detector, pixels, last):
    """Landmarks (4, 2) of the face that is nearest to where it was, or None."""
    (face,) = detector.detect([pixels])
    if face is None or last is None:
        return face and face.points
    return min((face, *face.others), key=lambda one: np.abs(one.points - last).sum()).points


def _draw(clip, path, poses, albedo, fitter):
    """Write the overlay video; -> what is told of each frame."""
    told = []
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        container.metadata["comment"] = MADE_HERE  # with these flags within the first bytes
        stream = container.add_stream("libx264", rate=_about(clip)[0])
        for pose, (time, picture) in zip(poses, _frames(clip, "overlay", len(poses)), strict=True):
            pixels, fit = picture.pixels, None
            size = np.array(pixels.shape[1::-1])
            if not told:
                stream.width, stream.height, stream.pix_fmt = *size.tolist(), "yuv420p"
            if pose and (pose.place > 0).all() and (pose.place < size).all():
                camera = pose.camera()
                drawn = fitter.draw(pose, albedo, pixels, np.diag([*1 / size, 1]) @ camera)
                fit = PhotographFit(pose, np.diag([*picture.scale, 1]) @ camera, *drawn)
                pixels = fit.overlay
            facts = fit.facts(fitter.face_model) if fit else {}
            told.append(dict(seconds=time, face=fit is not None) | {name: facts[name] for name in TOLD if fit})
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return told


def _about(clip):
    """Frames a second, and about how many there are (0: unknown)."""
    try:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or 25
            return rate, stream.frames or int((container.duration or 0) / av.time_base * rate)
    except (OSError, IndexError, av.FFmpegError) as error:
        raise StudyError(f"{printable(clip)} is no video that can be read: {error}") from None


def _frames(clip, description, total=None):
    """Yield time in s and Picture of each frame: upright, of even sides, which encoders need."""
    with av.open(str(clip)) as container:
        for frame in progress(container.decode(video=0), description, total or _about(clip)[1] or None, "frame"):
            shrink = min(1, LONGEST_SIDE / max(frame.width, frame.height))
            size = [max(2, 2 * round(shrink * side / 2)) for side in (frame.width, frame.height)]
            turns = round(frame.rotation / 90)
            pixels = np.rot90(frame.reformat(*size, format="rgb24").to_ndarray(), turns)
            scale = np.array([frame.width, frame.height]) / size
            yield frame.time, Picture(np.ascontiguousarray(pixels), tuple(scale[::-1] if turns % 2 else scale))


@command(OSError, av.FFmpegError)
def main(arguments=None):
    """Reconstruct the face of the clip that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib.fitting.video", description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, metavar="CLIP", help="a video of one person")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="receives the results")
    parser.add_argument("--regressor", metavar="FILE", help="a trained regressor (default: as lib.reconstruct)")
    chosen = parser.parse_args(arguments)
    check_writable(chosen.out)
    reconstruct_video(chosen.clip, chosen.out, load_reconstructor(chosen.regressor))
    print(f"results in {printable(chosen.out)}")


if __name__ == "__main__":
    sys.exit(main())
