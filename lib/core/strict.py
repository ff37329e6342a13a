"""Values of YAML files as frozen dataclasses, with checks and their error messages."""

import difflib
import json
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lib.core.errors import StudyError

strict = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))

# YAML writes 1e-3 as text and 30 as an integer: numbers may be integers, never text
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=0.5)]
Angle = Annotated[float, Field(ge=0, le=90)]


def _in_full(folder):
    if folder.startswith("~"):
        raise ValueError("only a shell knows ~, write the folder in full")
    return folder


Folder = Annotated[str, Field(min_length=1), pydantic.AfterValidator(_in_full)]


def read_yaml(path):
    """Read a YAML file that is a mapping; StudyError where it is missing or is none."""
    try:
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist; run from the root of the repository") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path} must be a mapping of sections, found {type(content).__name__}")
    return content


def build(kind, values, prefix):
    """Make a `strict` dataclass of nested dicts; StudyError names, behind `prefix`, each value that does not fit."""
    try:
        # through JSON, since pydantic's strict mode takes mappings for dataclasses only from there
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        lines = [_explain(problem, kind, prefix) for problem in error.errors()]
        raise StudyError("the parameters are refused:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _explain(problem, kind, prefix):
    where = [str(part) for part in problem["loc"]]
    name = ".".join(([prefix] if prefix else []) + where)
    if problem["type"] == "unexpected_keyword_argument":
        for part in where[:-1]:
            kind = get_args(kind)[1] if get_origin(kind) is dict else kind.__dataclass_fields__[part].type
        return unknown(name, [".".join(name.split(".")[:-1] + [s]) for s in kind.__dataclass_fields__])
    if problem["type"] == "missing":
        return f"{name} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
    return f"{name}: {message[0].lower()}{message[1:]}{found}"


def unknown(name, known):
    """Say that a name is unknown, and which of the known ones may be meant."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{name} is unknown" + (f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}")
