"""`params.yaml` is read strictly: what is wrong is named, before anything runs."""

import shutil
import subprocess
from typing import get_args, get_type_hints

import pytest
from conftest import ROOT

from lib.core.errors import StudyError
from lib.core.params import NetworksParams, load_params
from lib.recognition.network import KINDS
from lib.run import apply_preset

PUBLISHED = ROOT / "presets/default.yaml"
TEXT = PUBLISHED.read_text()


def load(tmp_path, old="", new=""):
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return load_params(path)


def test_the_papers_weights_are_the_defaults(tmp_path):
    params = load(tmp_path)
    assert (params.stage1.shape_weight, params.stage1.texture_weight) == (0.4, 0.002)
    assert (params.stage2.batch_weight, params.stage2.loop_weight, params.stage2.views) == (10.0, 0.07, 3)


def test_ablations_override_stage2(tmp_path):
    params = load(tmp_path)
    assert params.variant("full") == params.stage2
    assert params.variant("no_batch").batch_weight == 0
    assert params.variant("no_loopback").loop_weight == 0
    assert params.variant("single_view").frontal_identity and not params.variant("full").frontal_identity


def test_whole_numbers_pass_for_real_ones(tmp_path):
    assert load(tmp_path, "yaw_degrees: 30.0", "yaw_degrees: 30").scenes.yaw_degrees == 30


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  views: 3", "  viewz: 3", "stage2.viewz is unknown; did you mean stage2.views?"),
        ("  views: 3", "  views: '3'", "stage2.views"),
        ("  views: 3", "  views: 3.5", "stage2.views"),
        ("  views: 3", "  views: 0", "stage2.views"),
        ("  views: 3", "  views: true", "stage2.views"),
        ("  views: 3", "  views:", "stage2.views"),
        ("  seed: 2018\n", "", "face_model.seed is missing"),
        ("identity_weight: 2000.0", "identity_weight: .nan", "stage2.identity_weight"),
        ("resolution: full", "resolution: medium", "face_model.resolution"),
        ("training: dlib", "training: vgg", "networks.training"),
        ("evaluation: faceres", "evaluation: dlib", "cannot evaluate"),
        ("evaluation: facenet128", "evaluation: sface", "second and second_evaluation are both 'sface'"),
        ("evaluation: facenet128", "evaluation: faceres", "evaluation and second_evaluation are both 'faceres'"),
        ("{batch_weight: 0.0}", "{batch_wait: 0.0}", "variants.no_batch.batch_wait is unknown"),
        ("{batch_weight: 0.0}", "{batch_weight: -1.0}", "variants.no_batch.batch_weight"),
        ("people: 84", "poeple: 84", "evaluate.test_sources.small_gallery.poeple is unknown; did you mean"),
        ("people: 84, photographs: 1", "people: 84, photographs: 0", "how many are simulated of each person"),
        ("{source: simulated, path", "{source: lfw, path", "small_gallery: people is for simulated people alone"),
        ("people: 84, ", "", "small_gallery: people is missing"),
        ("photographs: 1, seed: 2}", "photographs: 1}", "small_gallery: seed is missing"),
        ("path: data/raw/photos, people", "path: ~/lfw, people", "small_gallery.path: only a shell knows ~"),
        ("  path: data/raw/photos  ", "  path: ~/photos  ", "photos.path: only a shell knows ~"),
        ("    people: 45", "    people: 2", "methods.fit_regressed.people"),
        ("external: {}", "external: {theirs: ~/theirs}", "methods.external.theirs: only a shell knows ~"),
        ("photographs: 1, seed: 2", "photographs: 1, seed: 1", "small_gallery has the seed of photos"),
        ("    small_gallery:", "    small.gallery:", "evaluate.test_sources"),
        ("[600.0, 1500.0]", "[1500.0, 600.0]", "distance_mm"),
        ("  full: {}", "  stage1: {}", "variants.stage1: that is the name of stage 1 alone"),
        ("  full: {}", "  whole: {}", "variants.full is missing"),
        ("\nscenes:", "\nscene:", "scenes is missing"),
        ("\nscenes:", "\nscenes: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, named):
    with pytest.raises(StudyError, match="(?s)" + named.replace("?", r"\?").replace(".", r"\.")):
        load(tmp_path, old, new)


def test_networks_are_those_of_the_registry():
    choices = get_type_hints(NetworksParams)
    assert set(get_args(choices["evaluation"])) == set(KINDS) > set(get_args(choices["training"]))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match="nowhere.yaml does not exist"):
        load_params(tmp_path / "nowhere.yaml")


def test_unknown_variant_is_refused(tmp_path):
    with pytest.raises(StudyError, match="variants.no_loop"):
        load(tmp_path).variant("no_loop")


@pytest.fixture
def params_file(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    return shutil.copy(PUBLISHED, tmp_path / "params.yaml")


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "presets").glob("*.yaml")))
def test_presets_apply_and_keep_the_comments(params_file, preset):
    apply_preset(preset, params_file)
    params = load_params(params_file)
    for variant in params.variants:
        params.variant(variant)
    assert "omega_s of Eq. 3" in params_file.read_text()
    assert params_file.read_text() != TEXT or preset == "default"


def test_the_study_is_published_with_the_default_preset(params_file):
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "params.yaml"], cwd=ROOT).returncode == 1:
        pytest.skip("params.yaml is changed here, and not committed")
    apply_preset("default", params_file)
    assert params_file.read_text() == (ROOT / "params.yaml").read_text(), "cp params.yaml presets/default.yaml"


def test_a_preset_is_the_same_whatever_the_file_held(params_file):
    apply_preset("quick", params_file)
    quick = params_file.read_text()
    apply_preset("paper", params_file)
    assert load_params(params_file).networks.training == "facenet"
    apply_preset("quick", params_file)
    assert params_file.read_text() == quick
    apply_preset("default", params_file)
    assert params_file.read_text() == TEXT


def test_a_file_changes_what_it_names_alone(params_file, tmp_path):
    apply_preset("quick", params_file)
    change = tmp_path / "change.yaml"
    change.write_text("stage2: {steps: 7}\n")
    apply_preset(change, params_file)
    assert load_params(params_file).stage2.steps == 7 and load_params(params_file).face_model.resolution == "light"


def test_the_papers_preset_keeps_the_numbers_of_its_text(params_file):
    apply_preset("paper", params_file)
    params = load_params(params_file)
    assert params.photos.source == "vggface" and params.face_model.source.endswith("model2017-1_bfm_nomouth.h5")
    assert (params.stage2.views, params.stage2.batch_weight, params.stage2.loop_weight) == (3, 10.0, 0.07)
    assert (params.stage1.shape_weight, params.stage1.texture_weight) == (0.4, 0.002)


def test_a_preset_that_does_not_fit_leaves_the_file_alone(tmp_path):
    path, preset = tmp_path / "params.yaml", tmp_path / "bad.yaml"
    path.write_text(TEXT)
    preset.write_text("stage2: {stepz: 3}\n")
    with pytest.raises(StudyError, match="stage2.stepz"):
        apply_preset(preset, path)
    assert path.read_text() == TEXT
    assert {p.name for p in tmp_path.iterdir()} == {"bad.yaml", "params.yaml"}
    with pytest.raises(StudyError, match="no preset 'tiny'"):
        apply_preset("tiny", path)
