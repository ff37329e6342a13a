"""All-pairs statistics at the size of Labeled Faces in the Wild: time and memory.

    python -m benchmarks.likeness [--json] [--photographs 13233] [--people 5749] [--dimension 512]

pairs      the cosines of all pairs of random unit vectors, counted by person
(`lib.evaluation.likeness.pair_distributions`). bootstrap  mean cosines of same and different pairs and their 95 %
intervals, by resampling people. memory     the largest the process became, with everything it imports.
"""

import argparse
import json
import resource
import time

import numpy as np

from lib.evaluation.bootstrap import resample_people
from lib.evaluation.likeness import pair_distributions
from lib.evaluation.measures import photograph_columns

SAMPLES = 1000


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--photographs", type=int, default=13_233)
    parser.add_argument("--people", type=int, default=5_749)
    parser.add_argument("--dimension", type=int, default=512)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = random.standard_normal((options.photographs, options.dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # as in LFW most people have one photograph and few have hundreds
    chances = 1 / (np.arange(options.people) + 3)
    extra = random.choice(options.people, options.photographs - options.people, p=chances / chances.sum())
    persons = np.concatenate([np.arange(options.people), extra])
    start = time.perf_counter()
    resampling = resample_people(persons, SAMPLES, 0)
    before = time.perf_counter()
    columns = photograph_columns(pair_distributions(vectors, persons).kinds(resampling.weights))
    seconds = time.perf_counter() - start
    result = {
        "photographs": options.photographs,
        "pairs": int(sum(column["n"] for column in columns.values())),
        "seconds": seconds,
        "of_which_drawing_people": before - start,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **columns,
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
