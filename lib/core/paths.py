"""Where the study's files lie, from the root of the repository."""

from pathlib import Path

RAW = Path("data/raw")
CACHE = Path("data/cache")
CHECKPOINTS = Path("data/checkpoints")
LIVE = Path("data/live")

FACE_MODEL = Path("data/face_model")
NETWORKS = Path("data/networks")
PHOTOS = Path("data/photos")
TEST_PHOTOS = Path("data/test_photos")
STAGE1 = Path("data/stage1")
REGRESSORS = Path("data/regressors")
EVALUATE = Path("data/evaluate")
METHODS = Path("data/methods")
EXTERNAL = Path("data/external")

METRICS = Path("reports/metrics")
PLOTS = Path("reports/plots")
NOTEBOOKS = Path("reports/notebooks")
PAGES = Path("reports/pages")
REPORT = Path("reports/index.html")
CLAIMS = Path("reports/claims.json")

TRUTH = "truth.h5"  # in a folder of photographs: the true faces of its people, where these are known


def stage1_files(features):
    """Where stage 1 leaves its synthetic faces and its regressor, for `features` of `Stage2Params`."""
    if features != "all":
        return STAGE1 / "pairs.safetensors", REGRESSORS / "stage1.safetensors"
    return STAGE1 / f"pairs_{features}.safetensors", STAGE1 / f"regressor_{features}.safetensors"
