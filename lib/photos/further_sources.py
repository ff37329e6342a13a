"""Further photographs to test on, `evaluate.test_sources`: `python -m lib.photos.further_sources NAME` embeds one.

The paper trains on VGG-Face and tests on LFW, MICC, MoFA-Test, FERET and BAM: all people of such a source are tested.
"""

import argparse
import shutil
import sys
from pathlib import Path

from lib.core import paths
from lib.core.errors import StudyError, command
from lib.core.params import load_params
from lib.core.strict import unknown
from lib.open_model.generator import FaceGenerator
from lib.photos.embed import CACHE_FOLDER, embed_in_processes, embed_photographs
from lib.photos.people import save_scans
from lib.photos.simulated.camera import simulate_photographs
from lib.photos.sources import list_photographs
from lib.recognition.network import load_network


def embed_source(params, name):
    """Make the feature store of one of `evaluate.test_sources`, and its true faces where it has scans.

    Stores of sources that are no longer named are deleted, since evaluations depend on the folder of all.
    """
    if name not in params.evaluate.test_sources:
        raise StudyError(unknown(name, list(params.evaluate.test_sources)))
    if paths.TEST_PHOTOS.is_dir():
        for store in paths.TEST_PHOTOS.iterdir():
            if store.is_dir() and store.name not in params.evaluate.test_sources:
                shutil.rmtree(store)
    source, names, folder = params.evaluate.test_sources[name], params.networks.embedding, paths.TEST_PHOTOS / name
    place = Path(source.path)
    if source.source == "simulated":
        place, generator = folder / "simulated", FaceGenerator(params.face_model.resolution)
        size = params.photos.simulated_size
        simulate_photographs(generator, place, source.people, source.photographs, size, source.seed)
    photographs = list_photographs(source.source, place)
    if params.photos.processes > 1:
        embed_in_processes(params.photos.processes, source.source, place, names)
    networks = {network: load_network(network, paths.NETWORKS) for network in names}
    seed = 0 if source.seed is None else source.seed  # of a split that nobody asks for: all people are tested
    store = embed_photographs(photographs, networks, folder, CACHE_FOLDER, 1, seed)
    if scans := {one.person: place / one.scan for one in photographs if one.scan}:
        save_scans(folder / paths.TRUTH, scans)
    return store


@command()
def main(arguments=None):
    """Embed the source that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib.photos.further_sources", description=__doc__)
    parser.add_argument("name", help="one of evaluate.test_sources in params.yaml")
    name = parser.parse_args(arguments).name
    store = embed_source(load_params(), name)
    print(f"{name}: {len(store.crops)} photographs, {len(store.skipped)} skipped")


if __name__ == "__main__":
    sys.exit(main())
