"""Put a trained regressor into the repository: `models/photographs.safetensors` and what it was trained with.

After a run on real photographs, from the root of the repository:

    dvc exp run -S photos.source=folder -S photos.path=path/to/lfw
    python -m derivations.publish_regressor recommended --photographs "Labeled Faces in the Wild, a subset"
"""

import argparse
from dataclasses import asdict

from lib.core import paths
from lib.core.params import PARAMS_FILE, load_params
from lib.core.tensors import read_json, write_json
from lib.face_model.model import FaceModel
from lib.fitting.published import PUBLISHED, facts_file, probe
from lib.photos.store import TRAIN, load_feature_store
from lib.training.regressor import Regressor


def publish(regressor, face_model, networks, path, **facts):
    """Write a regressor to `path`, ``.safetensors``, and beside it (`facts_file`) what it was trained with.

    `networks` are `lib.core.params.NetworksParams`; `facts`, JSON-compatible, tell what else there is of the training.
    """
    regressor.save(path)
    facts = dict(training=networks.training, second=networks.second, **facts, face_model=probe(face_model))
    write_json(facts_file(path), facts)


def main():
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("variant")
    parser.add_argument("--photographs", required=True, help="which photographs it was trained on")
    chosen = parser.parse_args()
    params, store = load_params(PARAMS_FILE), load_feature_store(paths.PHOTOS)
    train = store.rows(TRAIN)
    publish(
        Regressor.load(paths.REGRESSORS / f"{chosen.variant}.safetensors"),
        FaceModel.load(params.face_model.path, expression_dimension=1),
        params.networks,
        PUBLISHED,
        variant=chosen.variant,
        photographs=f"{chosen.photographs}: {len(train)} of {len(set(store.persons(train)))} people",
        stage1=asdict(params.stage1),
        stage2=asdict(params.variant(chosen.variant)),
        held_out_people=read_json(paths.METRICS / "summary" / f"{chosen.variant}.json")[chosen.variant],
    )


if __name__ == "__main__":
    main()
