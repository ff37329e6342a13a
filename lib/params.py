"""`params.yaml` as frozen dataclasses: an unknown or missing name or a wrong type is refused before any work starts."""

import difflib
import json
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lib.errors import StudyError
from lib.files import write_atomically

PARAMS_FILE = "params.yaml"
PRESETS_FOLDER = Path("presets")
DEFAULT_PRESET = "default"
STAGE1 = "stage1"

_strict = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))

# YAML writes 1e-3 as text and 30 as an integer: numbers may be integers, never text
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=0.5)]
Angle = Annotated[float, Field(ge=0, le=90)]


@_strict
class FaceModelParams:
    """Section `face_model`: which morphable model (paper 3.2)."""

    source: Annotated[str, Field(min_length=1)]
    resolution: Literal["full", "light"]
    seed: Seed
    shape_samples: Annotated[int, Field(ge=200)]
    texture_samples: Annotated[int, Field(ge=200)]
    expression_samples: Annotated[int, Field(ge=101)]

    @property
    def path(self):
        """Where the stage `face_model` puts the model that all other stages read."""
        return Path("data/face_model") / f"{self.resolution}.h5"


@_strict
class NetworksParams:
    """Section `networks`: the identity network of the losses and the one of the evaluation (paper 3.1, 4.3)."""

    training: Literal["dlib", "facenet"]
    evaluation: Literal["faceres", "dlib", "facenet"]

    def __post_init__(self):
        if self.training == self.evaluation:
            raise ValueError(
                f"training and evaluation are both {self.training!r}: a network cannot judge what was trained to "
                "please it (paper 4.3); choose two different ones"
            )


@_strict
class PhotosParams:
    """Section `photos`: the unlabelled photographs (paper 3.3, 4)."""

    source: Literal["simulated", "folder", "lfw", "micc", "mofa", "feret", "bam", "vggface", "vggface2"]
    path: Annotated[str, Field(min_length=1)]
    test_people: Annotated[int, Field(ge=2)]
    seed: Seed
    simulated_people: Count
    simulated_photographs: Annotated[int, Field(ge=2)]
    simulated_size: Annotated[int, Field(ge=64)]
    processes: Count


@_strict
class ScenesParams:
    """Section `scenes`: ranges of the random scenes that faces are rendered in (paper 3.2.1, 3.2.2)."""

    yaw_degrees: Angle
    pitch_degrees: Angle
    distance_mm: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    random_backgrounds: bool

    def __post_init__(self):
        if self.distance_mm[0] > self.distance_mm[1]:
            raise ValueError(f"distance_mm is [nearest, farthest], not {self.distance_mm}")


@_strict
class AugmentationParams:
    """Section `augmentation`: largest random defects of the pictures that training renders (`lib.augmentation`)."""

    shift: Share
    scale: Share
    roll_degrees: Angle
    blur: Annotated[float, Field(ge=0, le=10)]
    noise: Share
    contrast: Share


@_strict
class Stage1Params:
    """Section `stage1`: training on synthetic faces only (paper 3.3)."""

    seed: Seed
    faces: Annotated[int, Field(ge=64)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative
    shape_weight: NotNegative
    texture_weight: NotNegative


@_strict
class Stage2Params:
    """Section `stage2`, or one variant of it: photographs and synthetic faces together (paper 3.3)."""

    seed: Seed
    steps: Count
    photographs: Count
    views: Count
    frontal: bool
    distribution_batch: Annotated[int, Field(ge=2)]
    synthetic_faces: Count
    learning_rate: Positive
    weight_decay: NotNegative
    identity_weight: NotNegative
    batch_weight: NotNegative
    loop_weight: NotNegative
    precision: Literal["float32", "bfloat16"]
    processes: Count
    checkpoint_steps: Count
    monitor_people: Count
    monitor_steps: Count

    def __post_init__(self):
        for name in ("photographs", "synthetic_faces"):
            if getattr(self, name) % self.processes:
                raise ValueError(f"{name} {getattr(self, name)} cannot be shared evenly by {self.processes} processes")


@_strict
class EvaluateParams:
    """Section `evaluate`: the protocol of the paper's section 4."""

    seed: Seed
    bootstrap_samples: Annotated[int, Field(ge=10)]
    photographs_a_person: Count
    geometry_people: Count
    smallest_group: Annotated[int, Field(ge=2)]


@_strict
class PixelAutoencoderParams:
    """Section `methods.pixel_autoencoder`: the photometric autoencoder (MoFA, [27] in the paper)."""

    seed: Seed
    synthetic_faces: Count
    steps: Count
    photographs: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative
    landmark_weight: NotNegative
    prior_weight: NotNegative
    checkpoint_steps: Count


@_strict
class IterativeFitParams:
    """Section `methods.iterative_fit`: one photograph at a time by analysis through synthesis ([13] in the paper)."""

    people: Count
    steps: Count
    learning_rate: Positive
    landmark_weight: NotNegative
    prior_weight: NotNegative


@_strict
class FitRegressedParams:
    """Section `methods.fit_regressed`: fits of training photographs, learned by the decoder ([29] in the paper)."""

    seed: Seed
    people: Annotated[int, Field(ge=2)]
    photographs_a_person: Count
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NotNegative
    shape_weight: NotNegative
    texture_weight: NotNegative


@_strict
class MethodsParams:
    """Section `methods`: what the paper compares with (4.1 to 4.4), measured as its own results are."""

    components: Count
    expression_components: Count
    pixel_autoencoder: PixelAutoencoderParams
    iterative_fit: IterativeFitParams
    fit_regressed: FitRegressedParams
    external: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], Annotated[str, Field(min_length=1)]]


@_strict
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
    evaluated: list[str]
    evaluate: EvaluateParams
    methods: MethodsParams

    def variant(self, name):
        """Return stage 2's parameters with the overrides of one variant (the ablations of Fig. 3).

        Raises
        ------
        StudyError
            The variant is not listed under `variants`, or overrides something that stage 2 does not have.
        """
        if name not in self.variants:
            raise StudyError(_unknown(f"variants.{name}", [f"variants.{v}" for v in self.variants]))
        values = pydantic.RootModel[Stage2Params](self.stage2).model_dump()
        for key in self.variants[name]:
            if key not in values:
                raise StudyError(_unknown(f"variants.{name}.{key}", [f"variants.{name}.{v}" for v in values]))
        return _build(Stage2Params, values | self.variants[name], f"variants.{name}")


def load_params(path=PARAMS_FILE):
    """Read and check a parameter file.

    Parameters
    ----------
    path : str or Path
        A YAML file with exactly the sections and names of `Params`.

    Returns
    -------
    Params

    Raises
    ------
    StudyError
        The file is missing or no YAML, or a name is unknown or missing, or a value has the wrong type or range; the
        message lists each with its full name (`stage2.steps`).
    """
    params = _build(Params, _read(path), "")
    for name in params.variants:
        params.variant(name)
    expected = [STAGE1, *params.variants]
    if sorted(params.evaluated) != sorted(expected):
        raise StudyError(
            f"params.yaml: `evaluated` is [{', '.join(params.evaluated)}] but must name {STAGE1} and each of "
            f"`variants` once: [{', '.join(expected)}]"
        )
    return params


def apply_preset(preset, path=PARAMS_FILE):
    """Write a preset's values into a parameter file, with comments.

    Parameters
    ----------
    preset : str or Path
        A name in `presets/`: `default` holds all parameters as published, any other names what it changes in them, so
        that the result is the same whatever the file held before. Or the path of a YAML file with some sections and
        names of `Params`: all that it does not name stays as it is.
    path : str or Path
        The file to change; written atomically, and only when the result is valid.

    Raises
    ------
    StudyError
        There is no such preset, or the result is refused by `load_params`.
    """
    presets = {p.stem: p for p in sorted(PRESETS_FOLDER.glob("*.yaml"))}
    source = presets.get(str(preset), Path(preset))
    if not source.is_file():
        raise StudyError(f"no preset {str(preset)!r}; there are: {', '.join(presets) or 'none'}")
    yaml = YAML()
    yaml.width = 200
    named = str(preset) in presets
    document = yaml.load((presets[DEFAULT_PRESET] if named else Path(path)).read_text())
    changes = {} if str(preset) == DEFAULT_PRESET else _read(source)
    for section, values in changes.items():
        if section not in document or not isinstance(values, dict):
            raise StudyError(f"{source}: " + _unknown(section, list(document)))
        _overlay(document[section], values)

    def write(part):
        with part.open("w") as file:
            yaml.dump(document, file)
        load_params(part)

    write_atomically(path, write)


def _overlay(old, new):
    """Put values into a mapping; a mapping of its own, such as `methods.iterative_fit`, keeps what is not named."""
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _overlay(old[name], value)
        else:
            old[name] = value


def _read(path):
    try:
        content = YAML(typ="safe").load(Path(path).read_text())
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run from the root of the repository") from None
    except YAMLError as error:
        raise StudyError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path} must be a mapping of sections, found {type(content).__name__}")
    return content


def _build(kind, values, prefix):
    try:
        # through JSON, since pydantic's strict mode takes mappings for dataclasses only from there
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        lines = [_explain(problem, kind, prefix) for problem in error.errors()]
        raise StudyError("params.yaml is refused:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _explain(problem, kind, prefix):
    where = [str(part) for part in problem["loc"]]
    name = ".".join(([prefix] if prefix else []) + where)
    if problem["type"] == "unexpected_keyword_argument":
        siblings = kind.__dataclass_fields__
        for part in where[:-1]:
            siblings = siblings[part].type.__dataclass_fields__
        return _unknown(name, [".".join(name.split(".")[:-1] + [s]) for s in siblings])
    if problem["type"] == "missing":
        return f"{name} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
    return f"{name}: {message[0].lower()}{message[1:]}{found}"


def _unknown(name, known):
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{name} is unknown" + (f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}")
