"""Sets of parameters by name: `python -m lib.run preset quick` writes one into `params.yaml`."""

from pathlib import Path

from ruamel.yaml import YAML

from lib.core.errors import StudyError
from lib.core.files import write_atomically
from lib.core.params import PARAMS_FILE, load_params
from lib.core.strict import read_yaml, unknown

PRESETS_FOLDER = Path("presets")
DEFAULT_PRESET = "default"


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
    changes = {} if str(preset) == DEFAULT_PRESET else read_yaml(source)
    for section, values in changes.items():
        if section not in document or not isinstance(values, dict):
            raise StudyError(f"{source}: " + unknown(section, list(document)))
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
