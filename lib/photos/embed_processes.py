"""Photographs embedded by many processes: `torchrun` starts them, each fills its share of one cache.

    torchrun --nproc_per_node 8 -m lib.photos.embed_processes --source folder --path my/photographs

The photos stage does this itself for `photos.processes` above 1. On several machines, start it on each (torchrun's
--nnodes) over a shared file system. Afterwards the stage finds everything in the cache and has only to gather it.
"""

import argparse
import os

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.processes import launch
from lib.photos.embed import BATCH_SIZE, WORKERS, fill_cache
from lib.photos.sources import list_photographs
from lib.recognition.network import load_network

CACHE_FOLDER = paths.CACHE / "photos"


def embed_in_processes(processes, source, path, networks, **options):
    """Fill a source's cache by several processes of this machine, with further `options` of the command line."""
    arguments = ["--source", source, "--path", str(path)]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    try:
        launch("lib.photos.embed_processes", processes, *arguments, "--networks", *networks)
    except StudyError:
        raise StudyError(
            f"One of {processes} processes that embed photographs failed (see above). What they finished is kept: "
            "run again, or with photos.processes=1."
        ) from None


def main(arguments=None):
    """Embed the share of the process that torchrun started."""
    parser = argparse.ArgumentParser(
        prog="torchrun -m lib.photos.embed_processes", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--source", required=True)
    parser.add_argument("--path", required=True, help="the source's folder")
    parser.add_argument("--networks", nargs="+", default=["dlib", "faceres"], help="the first one's crops are kept")
    parser.add_argument("--networks-folder", default=paths.NETWORKS)
    parser.add_argument("--cache-folder", default=CACHE_FOLDER)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args(arguments)
    networks = {name: load_network(name, options.networks_folder) for name in options.networks}
    fill_cache(
        list_photographs(options.source, options.path),
        networks,
        options.cache_folder,
        options.networks[0],
        options.batch_size,
        options.workers,
        # torchrun's contract: https://docs.pytorch.org/docs/stable/elastic/run.html
        process=int(os.environ.get("RANK", 0)),
        processes=int(os.environ.get("WORLD_SIZE", 1)),
    )


if __name__ == "__main__":
    main()
