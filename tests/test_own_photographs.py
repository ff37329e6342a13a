"""A folder of photographs of one's own, through the pipeline."""

import json
import shutil

import pytest
from conftest import SHARED
from pipeline_study import OWN_PHOTOGRAPHS, study_after_its_first_run

pytestmark = pytest.mark.pipeline

LFW = SHARED / "photos" / "lfw"


def test_own_photographs_go_through_the_same_pipeline(tmp_path_factory):
    """Real ones where they lie beside the repository; the study's own elsewhere."""
    study, _ = study_after_its_first_run(tmp_path_factory, "photographs")
    folder = study.folder / "path/to/folder"
    people = sorted(path for path in LFW.iterdir() if len(list(path.glob("*.jpg"))) >= 2)[:5] if LFW.is_dir() else []
    for person in people or sorted((study.folder / "data/photos/simulated").glob("person-*"))[:5]:
        (folder / person.name).mkdir(parents=True)
        for photograph in sorted(person.glob("*.jpg"))[:2]:
            shutil.copy(photograph, folder / person.name)
    (folder / "broken.jpg").write_text("not a photograph")
    study.set("photos", test_people=3)
    # an ablation with other lines of code, not with a weight of zero only
    study.choose(["full", "single_view"])
    study.type(OWN_PHOTOGRAPHS)
    # after that one more, which DVC alone would stop at
    (folder / "gone.jpg").symlink_to("nowhere")
    study.type("make study")
    photos = json.loads((study.folder / "reports/metrics/photos.json").read_text())
    # beside the photographs: the text named .jpg and the broken link
    assert photos["files"] == 12 and photos["skipped"] == 2
    # never more than half of the people are kept for the test
    assert (photos["test"]["people"], photos["train"]["photographs"]) == (2, 6)
    metrics = json.loads((study.folder / "reports/metrics/evaluate/full.json").read_text())
    report = (study.folder / "reports/report.md").read_text()
    assert "folder; 12 files, 2 skipped" in report and "|  | stage 1 only | full | single view |" in report
    assert "geometry" not in metrics and metrics["recall"]["all"]["top1"]["n"] == 4
