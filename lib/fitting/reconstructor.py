"""All that turns photographs into one face: what reads them, the regressor, the face model and the fit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.params import FULL, PARAMS_FILE, RECOMMENDED, load_params
from lib.core.pictures import to_uint8
from lib.face_model.model import Coefficients, FaceModel
from lib.face_model.photo_texture import mean_texture
from lib.face_model.texture import Texture
from lib.fitting.photograph import PhotographFit, PhotographFitter, find_landmarks
from lib.fitting.published import PUBLISHED, check_face_model, is_meant_for
from lib.photos.align import POINT_COLUMNS
from lib.recognition.reader import FeatureReader, load_reader
from lib.rendering.crop import Crop
from lib.rendering.renderer import draw_mesh, frontal_scene
from lib.training.regressor import Regressor

PORTRAIT = Crop(320, ((0.36, 0.42), (0.64, 0.42), (0.39, 0.7), (0.61, 0.7)))
PIXELS = Crop(640, PORTRAIT.points)
"""What textures are made of: between the eyes as many pixels as a texture has texels."""
HEAD = Crop(320, ((0.375, 0.46), (0.625, 0.46), (0.4, 0.71), (0.6, 0.71)))
"""Of the views: from the neck to the crown."""
EXPRESSIONS = 64
VIEWS = (0.0, 35.0, 90.0)
"""Yaw in degrees of the views of a face: from the front, between, in profile."""


@dataclass(frozen=True)
class Face:
    """A face, and what its photographs show of it."""

    coefficients: Coefficients  # of one face, without a batch: shape (S,) and texture (K,)
    vertices: np.ndarray  # (N, 3): the neutral face, mm, model frame
    albedo: np.ndarray  # (N, 3): sRGB in [0, 1], the texture's where there is one
    texture: Texture | None  # of the photographs' own pixels
    views: list[np.ndarray]  # (H, W, 3), uint8: the neutral face turned by `VIEWS`
    fits: list[PhotographFit]  # of the photographs that give colours; none where the face model cannot be fitted


@dataclass(frozen=True)
class Reconstructor:
    """All that turns photographs into faces; without `fitter` faces are the regressor's alone."""

    reader: FeatureReader
    regressor: Regressor
    face_model: FaceModel
    fitter: PhotographFitter | None
    photo_textured: bool  # faces have the photograph's own pixels, where the face model has a texture layout

    @classmethod
    def load(cls, networks, regressor, face_model, fit=True, photo_textured=True):
        """Read everything; StudyError: a file is missing, or the three do not fit one another.

        `networks` (`lib.core.params.NetworksParams`) are those that the regressor was trained with.
        """
        if Path(regressor).suffix != ".safetensors":
            raise StudyError(f"{regressor} is no regressor: those are the .safetensors files in {paths.REGRESSORS}")
        for path in (regressor, face_model, paths.NETWORKS / f"{networks.training}.safetensors"):
            if not Path(path).is_file():
                raise StudyError(f"{path} is missing: run the study first (make study, or dvc repro)")
        # of the expressions the least that a model can have is read where none is wanted
        model = FaceModel.load(face_model, expression_dimension=EXPRESSIONS if fit else 1)
        check_face_model(regressor, model)
        regressor = Regressor.load(regressor)
        reader, fitter = load_reader(networks, regressor.feature_dimension), None
        if fit:
            try:
                fitter = PhotographFitter(model)
            except StudyError as error:
                print(f"the photographs are not fitted: {error}")
        return cls(reader, regressor, model, fitter, photo_textured and bool(fitter and model.atlas))

    @property
    def framings(self):
        """How photographs must be cropped for `face_of_person`: dict of str to Crop."""
        framings = self.reader.framings | (self.fitter.framings if self.fitter else {}) | dict(portrait=PORTRAIT)
        return framings | (dict(pixels=PIXELS) if self.photo_textured else {})

    @torch.inference_mode()
    def face_of_person(self, records, pictures, step=1):
        """Reconstruct one `Face` from B photographs of one person, from the mean of their features (paper 4.2).

        `records` (dicts) are of photographs with a face, `pictures` their crops by name in the `framings`, uint8
        (B, H, W, 3): both as of `lib.photos.align.iterate_face_crops`.

        The landmarks of each photograph correct the regressor's shape; the face has the mean of these shapes. Every
        `step`-th photograph is fitted (`Face.fits`) and gives its pixels to the texture (`mean_texture`).
        """
        model, fitter, fits, texture = self.face_model, self.fitter, [], None
        coefficients = self.regressor(self.reader.of_crops(pictures).mean(0, keepdim=True))[0]
        if fitter:
            points, landmarks = fitter.points, find_landmarks(fitter.network, pictures["landmarks"])
            shape = np.mean([points.rest(each, coefficients.shape.double().numpy()) for each in landmarks], 0)
            # what the photographs were cropped by
            detected = [np.array([each[name] for name in POINT_COLUMNS]).reshape(-1, 2) for each in records[::step]]
            poses = (points.fit(each, shape, variance=0) for each in landmarks[::step])
            shown = zip(poses, pictures["portrait"][::step], detected, strict=True)
            explained = [fitter.explain(pose, coefficients.texture, seen, PORTRAIT, at) for pose, seen, at in shown]
            fits, textures = map(list, zip(*explained))
            coefficients = Coefficients(torch.from_numpy(shape).float(), torch.stack(textures).mean(0))
        vertices, albedo = model.vertices(coefficients.shape[None]), model.albedo(coefficients.texture[None])
        colours = fitter.even(albedo[0].numpy()) if fitter else albedo[0].numpy()
        if self.photo_textured:
            shown = zip(fits, pictures["pixels"][::step], detected, strict=True)
            texture = mean_texture(fitter.texture(fit, colours, seen, PIXELS, at) for fit, seen, at in shown)
            colours = texture.on_vertices(colours)
        scene, vertices = frontal_scene(len(VIEWS)), vertices[0].numpy()
        scene.angles[:, 0] = torch.deg2rad(torch.tensor(VIEWS))
        views = draw_mesh(vertices, colours, model.triangles, model.alignment_vertices, scene, HEAD)
        return Face(coefficients, vertices, colours, texture, list(to_uint8(views)), fits)


def load_reconstructor(regressor=None, fit=True, photo_textured=True):
    """Load the `Reconstructor` of params.yaml; StudyError: as `Reconstructor.load`, or these parameters are wrong.

    `regressor` is a file, None that of `default_regressor`; `fit` and `photo_textured` tell whether photographs are
    fitted, and textures made of their pixels.
    """
    params = load_params(PARAMS_FILE)
    regressor, model = regressor or default_regressor(params), params.face_model.path
    return Reconstructor.load(params.networks, regressor, model, fit, photo_textured)


def default_regressor(params):
    """Path of the regressor that photographs are given to unless another is named.

    The published one where face model and networks are those that it was trained with, else the study's.
    """
    model = params.face_model
    if (model.source, model.resolution) == ("open", "full") and is_meant_for(PUBLISHED, params.networks):
        return PUBLISHED
    return paths.REGRESSORS / f"{RECOMMENDED if RECOMMENDED in params.variants else FULL}.safetensors"
