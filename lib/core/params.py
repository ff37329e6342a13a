"""`params.yaml` as frozen dataclasses; unknown or missing names and wrong types are refused before any work starts."""

from dataclasses import asdict
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.strict import Angle, Count, Folder, NotNegative, Positive, Seed, Share, build, read_yaml, strict, unknown

PARAMS_FILE = "params.yaml"
STAGE1, FULL, RECOMMENDED = "stage1", "full", "recommended"
MIRRORED, FACE_ONLY = "_mirrored", "_face"
"""Behind a network's name: the same, which sees a mirror image, or grey outside `lib.recognition.network.face_oval`."""


@strict
class FaceModelParams:
    """Section `face_model`: which morphable model (paper 3.2)."""

    source: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    resolution: Literal["full", "light"]
    seed: Seed
    shape_samples: Annotated[int, Field(ge=200)]
    texture_samples: Annotated[int, Field(ge=200)]
    expression_samples: Annotated[int, Field(ge=101)]

    @property
    def path(self):
        """Where the stage `face_model` puts the model that all other stages read."""
        return paths.FACE_MODEL / f"{self.resolution}.h5"

    @property
    def source_file(self):
        """Where a Basel file, or a folder of meshes, lies: in a folder that the pipeline watches."""
        return paths.RAW / "face_model" / self.source


@strict
class NetworksParams:
    """Section `networks`: the identity networks of the losses and those of the evaluation (paper 3.1, 4.3)."""

    training: Literal["dlib", "facenet", "sface"]
    second: Literal["sface", "dlib", "facenet", "faceres"]
    evaluation: Literal["faceres", "dlib", "facenet", "facenet128", "sface"]
    second_evaluation: Literal["facenet128", "faceres", "dlib", "facenet", "sface"]

    def __post_init__(self):
        for (role, name), (other, same) in combinations(vars(self).items(), 2):
            if name == same:
                raise ValueError(
                    f"{role} and {other} are both {name!r}: a network cannot evaluate what was trained to please it "
                    "(paper 4.3), nor give a second opinion of itself; choose another one"
                )

    @property
    def embedding(self):
        """Names of the networks that photographs are embedded with, the training network first."""
        mirrored = [name + MIRRORED for name in (self.training, self.second)]
        return [self.training, self.evaluation, self.second, *mirrored, *self.further_judges.values()]

    @property
    def further_judges(self):
        """Names of the networks that judge beside `evaluation`, by their part of the metrics."""
        return dict(second_judge=self.second_evaluation, face_only=self.evaluation + FACE_ONLY)


Source = Literal["simulated", "folder", "lfw", "micc", "mofa", "feret", "bam", "vggface", "vggface2"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


@strict
class PhotosParams:
    """Section `photos`: the unlabelled photographs (paper 3.3, 4)."""

    source: Source
    path: Folder
    test_people: Annotated[int, Field(ge=2)]
    seed: Seed
    simulated_people: Count
    simulated_photographs: Annotated[int, Field(ge=2)]
    simulated_size: Annotated[int, Field(ge=64)]
    processes: Count


@strict
class ScenesParams:
    """Section `scenes`: ranges of the random scenes that faces are rendered in (paper 3.2.1, 3.2.2)."""

    yaw_degrees: Angle
    pitch_degrees: Angle
    distance_mm: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    random_backgrounds: bool

    def __post_init__(self):
        if self.distance_mm[0] > self.distance_mm[1]:
            raise ValueError(f"distance_mm is [nearest, farthest], not {self.distance_mm}")


@strict
class AugmentationParams:
    """Section `augmentation`: largest random changes of renders (`lib.training.augmentation`)."""

    shift: Share
    scale: Share
    roll_degrees: Angle
    blur: Annotated[float, Field(ge=0, le=10)]
    noise: Share
    contrast: Share


@strict
class ParameterLossParams:
    """What trains a decoder on known coefficients by Eq. 3: `stage1` and `methods.fit_regressed`."""

    seed: Seed
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative
    shape_weight: NotNegative
    texture_weight: NotNegative


@strict
class Stage1Params(ParameterLossParams):
    """Section `stage1`: training on synthetic faces only (paper 3.3)."""

    faces: Annotated[int, Field(ge=64)]
    second_faces: Annotated[int, Field(ge=64)]
    expression: Annotated[float, Field(ge=0, le=2)]
    hair: Annotated[float, Field(ge=0, le=1)]


@strict
class Stage2Params:
    """Section `stage2`, or one variant of it: photographs and synthetic faces together (paper 3.3)."""

    seed: Seed
    steps: Count
    photographs: Count
    views: Count
    frontal_identity: bool
    features: Literal["network", "embedding", "all"]
    hidden_layers: Annotated[int, Field(ge=1, le=8)]
    distribution_batch: Annotated[int, Field(ge=2)]
    synthetic_faces: Count
    learning_rate: Positive
    weight_decay: NotNegative
    identity_weight: NotNegative
    batch_weight: NotNegative
    eigenvalue_bound: NotNegative
    metric_weight: NotNegative
    skin_weight: NotNegative
    second_identity_weight: NotNegative
    anchor_weight: NotNegative
    posterior_share: Share
    prior_weight: NotNegative
    render_transform: bool
    loop_weight: NotNegative
    precision: Literal["auto", "float32", "bfloat16"]
    processes: Count
    checkpoint_steps: Count
    validation_people: Count
    validation_steps: Count

    def __post_init__(self):
        for name in ("photographs", "synthetic_faces"):
            if getattr(self, name) % self.processes:
                raise ValueError(f"{name} {getattr(self, name)} cannot be shared evenly by {self.processes} processes")
        if self.second_identity_weight and self.features != "all":
            raise ValueError("second_identity_weight needs `features: all`, with which the second network is read")


@strict
class SourceParams:
    """One of `evaluate.test_sources`: other people, all of whom the trained regressors are tested on (paper 4)."""

    source: Source
    path: Folder
    photographs: Annotated[int, Field(ge=0)]  # of each person: how many are measured (0: all), or simulated
    people: Annotated[int, Field(ge=2)] | None = None  # with the seed: who is simulated
    seed: Seed | None = None

    def __post_init__(self):
        simulated = self.source == "simulated"
        for name in ("people", "seed"):
            if simulated and getattr(self, name) is None:
                raise ValueError(f"{name} is missing, which simulated people need")
            if not simulated and getattr(self, name) is not None:
                raise ValueError(f"{name} is for simulated people alone: take it out")
        if simulated and not self.photographs:
            raise ValueError("photographs is how many are simulated of each person: at least 1")


@strict
class EvaluateParams:
    """Section `evaluate`: the protocol of the paper's section 4."""

    seed: Seed
    bootstrap_samples: Annotated[int, Field(ge=10)]
    photographs_per_person: Count
    geometry_people: Count
    smallest_group: Annotated[int, Field(ge=2)]
    test_sources: dict[Name, SourceParams]


@strict
class PhotometricParams:
    """What explains the pixels of photographs: `methods.pixel_autoencoder` and `methods.iterative_fit`."""

    steps: Count
    learning_rate: Positive
    landmark_weight: NotNegative
    prior_weight: NotNegative


@strict
class PixelAutoencoderParams(PhotometricParams):
    """Section `methods.pixel_autoencoder`: the photometric autoencoder (MoFA, [27] in the paper)."""

    seed: Seed
    synthetic_faces: Count
    photographs: Annotated[int, Field(ge=2)]
    weight_decay: NotNegative
    checkpoint_steps: Count


@strict
class IterativeFitParams(PhotometricParams):
    """Section `methods.iterative_fit`: one photograph at a time by analysis through synthesis ([13] in the paper)."""

    people: Count


@strict
class FitRegressedParams(ParameterLossParams):
    """Section `methods.fit_regressed`: fits of training photographs, learned by the decoder ([29] in the paper)."""

    people: Annotated[int, Field(ge=3)]  # one is held out, and the features of the rest are standardised
    photographs_per_person: Count


@strict
class MethodsParams:
    """Section `methods`: what the paper compares with (4.1 to 4.4), measured as its own results are."""

    components: Count
    expression_components: Count
    pixel_autoencoder: PixelAutoencoderParams
    iterative_fit: IterativeFitParams
    fit_regressed: FitRegressedParams
    external: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], Folder]


@strict
class RobustnessParams:
    """Section `robustness`: the stress test of the paper's section 4.5 (Figs. 6, 7)."""

    people: Annotated[int, Field(ge=2)]
    steps: Annotated[int, Field(ge=1, le=8)]
    person: Annotated[str, Field(min_length=1)]


@strict
class Params:
    """All of `params.yaml`."""

    face_model: FaceModelParams
    networks: NetworksParams
    photos: PhotosParams
    scenes: ScenesParams
    augmentation: AugmentationParams
    stage1: Stage1Params
    stage2: Stage2Params
    variants: dict[str, dict[str, bool | int | float | str]]
    evaluate: EvaluateParams
    methods: MethodsParams
    robustness: RobustnessParams

    def __post_init__(self):
        for name, source in self.evaluate.test_sources.items():
            if source.source == self.photos.source == "simulated" and source.seed == self.photos.seed:
                raise ValueError(f"evaluate.test_sources.{name} has the seed of photos: its people would be the same")

    def variant(self, name):
        """Return stage 2's parameters with the overrides of one variant (Fig. 3); StudyError: it does not exist."""
        if name not in self.variants:
            raise StudyError(unknown(f"variants.{name}", [f"variants.{v}" for v in self.variants]))
        return build(Stage2Params, asdict(self.stage2) | self.variants[name], f"variants.{name}")


def load_params(path=PARAMS_FILE):
    """Read and check a parameter file; StudyError names all that is unknown, missing or wrong, in full."""
    params = build(Params, read_yaml(path), "")
    for name in params.variants:
        params.variant(name)
    if STAGE1 in params.variants:
        raise StudyError(f"variants.{STAGE1}: that is the name of stage 1 alone; call the variant something else")
    if FULL not in params.variants:
        raise StudyError(f"variants.{FULL} is missing: the other variants are compared with it")
    return params
