"""The report: tables beside the paper's, parts that were not measured, and the page as a browser shows it."""

import io
import json
import re
import shutil

import browser
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from lib.core.params import load_params
from lib.evaluation import paper_numbers
from lib.evaluation.tables import run_table
from lib.figures import loss_curves, save_figure
from lib.figures_faces import face_grid
from lib.report import tables as report_tables
from lib.report.content import PEOPLE_WARNING, TITLE, lead, sections
from lib.report.facts import machine_facts, output_hashes, package_versions, sources
from lib.report.notebook_pages import convert_notebooks
from lib.report.page import Section, blocks, header_rows, inlined, split_interval, table, write_page
from lib.viewer import face_viewer

NAMES = ["stage1", "full", "no_batch"]
CHANGES = {"pose": dict(none=0.0, largest=60.0), "blur": dict(none=0.0, largest=0.1)}


def cell(value):
    return dict(value=value, low=value - 0.1, high=value + 0.1, n=9)


def evaluation(value, truth=True, groups=True):
    """Metrics of one regressor as the stage evaluate writes them."""
    rows = dict(
        photographs=dict(all=dict(same=cell(0.6), different=cell(0.0))),
        similarity=dict(all=dict(frontal=cell(value), random_scene=cell(value - 0.05))),
        earth_movers_distance=dict(all=dict(same=cell(0.1), different=cell(0.4))),
        recall=dict(all={name: cell(0.5) for name in ("top1", "top5", "random_top1", "random_top5")}),
        coefficients=dict(all=dict(shape_variance=cell(0.9))),
    )
    if truth:
        conditions = ("all", "cooperative", "indoor", "outdoor")
        rows["geometry"] = {name: dict(mean=cell(1.25), deviation=cell(0.2)) for name in conditions}
    if groups:
        of_group = dict(similarity=dict(old=dict(frontal=cell(0.3)), young=dict(frontal=cell(0.5))))
        rows["groups"] = dict(age=of_group)
    return rows


def robustness():
    """Metrics as the stage robustness writes them: blur hides the face at its second step."""
    kinds = dict(pose={"1": cell(0.9), "2": cell(0.7)}, blur={"1": cell(0.8)}, pencil={"1": cell(0.6)})
    by_regressor = {name: kinds for name in NAMES}
    consistency = by_regressor | dict(photographs=kinds)
    found = kinds | dict(blur={"1": cell(1.0), "2": cell(0.0)})
    return dict(people=3, changes=CHANGES, found=found, consistency=consistency, likeness=by_regressor)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A folder as a run leaves it, with small figures and made-up numbers."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "templates").symlink_to(ROOT / "templates")
    metrics, figures = folder / "reports/metrics", folder / "reports/figures"
    (metrics / "evaluate").mkdir(parents=True)
    (metrics / "methods").mkdir()
    for number, name in enumerate(NAMES):
        (metrics / f"evaluate/{name}.json").write_text(json.dumps(evaluation(0.4 + 0.1 * number)))
    (metrics / "methods/mean_face.json").write_text(json.dumps(evaluation(0.05)))
    (metrics / "robustness.json").write_text(json.dumps(robustness()))
    (metrics / "face_model.json").write_text('{"vertices": 81}')
    networks = {"dlib": dict(same=0.6, different=0.0, auc=0.99, raw_auc=0.97)}
    sizes = dict(photographs=9, people=3)
    (metrics / "photos.json").write_text(
        json.dumps(dict(files=18, skipped=0, train=sizes, test=sizes, verification=networks))
    )
    pictures = np.random.default_rng(0).integers(0, 255, (2, 8, 150, 150, 3), np.uint8)
    grid = face_grid(pictures)
    for name in ("pairs/full", "ablations", "methods", "robustness", "styles", "face_model"):
        save_figure(grid, figures / f"{name}.png")
    frame = pd.DataFrame(dict(step=[1, 2], identity=[0.5, 0.4], batch=[3, 2], loop=[9, 8], parameter=[5, 4]))
    curves = loss_curves({"full": frame})
    for name in ("similarity", "likeness", "losses", "robustness_curves"):
        save_figure(curves, figures / f"{name}.svg")
    plt.close("all")
    return folder


@pytest.fixture
def study(finished_run, tmp_path, monkeypatch):
    """The same, to be worked in."""
    shutil.copytree(finished_run, tmp_path / "study", symlinks=True)
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def write_report(study, viewer=None, warning=""):
    params = load_params(ROOT / "params.yaml")
    run = run_table(params).set_axis([""], axis=1)
    frame = pd.DataFrame({"": machine_facts() | sources(ROOT / "params.yaml", "dvc.lock")})
    facts = dict(run=run, machine=frame, packages=frame, params=frame, outputs=frame)
    pages = convert_notebooks(study / "reports/notebooks", leave_out="11_report")
    content = sections(NAMES, params, facts, viewer, pages)
    write_page("reports/index.html", TITLE, lead(report_tables.read_methods(NAMES), params), content, warning)
    return (study / "reports/index.html").read_text(encoding="utf-8")


def write_notebook(folder, name, title):
    folder.mkdir(parents=True, exist_ok=True)
    cells = [nbformat.v4.new_markdown_cell(f"# 1 · {title}\n\nText"), nbformat.v4.new_code_cell("1 + 1")]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"duration": 90.0}})
    nbformat.write(book, folder / f"{name}.ipynb")


def small_viewer():
    random = np.random.default_rng(0)
    vertices = np.array([[-60, -60, 0], [60, -60, 0], [0, 80, 0], [0, 0, 60]], float)
    vertices = np.stack([vertices, 0.5 * vertices])
    colours = random.uniform(0.3, 1, (2, 4, 3))
    triangles = [[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]]
    photographs = random.integers(0, 255, (2, 30, 30, 3), np.uint8)
    return face_viewer(["one", "two"], vertices, colours, triangles, photographs[0], 320, photographs)


def test_the_papers_tables_are_whole():
    assert paper_numbers.GEOMETRY.loc["Tran et al. [29]"].tolist() == ["1.93", "0.27", "2.02", "0.25", "1.86", "0.23"]
    ours = "Genova et al. (the paper)"
    assert paper_numbers.EARTH_MOVERS_DISTANCE.loc[ours, ("MICC", "same")] == "0.09"
    assert paper_numbers.EARTH_MOVERS_DISTANCE.loc["ground-truth scans", ("MICC", "diff.")] == "0.41"
    assert paper_numbers.RECALL.loc["MoFA [27]", ("MoFA-Test", "top-5")] == "0.54"
    assert [len(t) for t in (paper_numbers.GEOMETRY, paper_numbers.EARTH_MOVERS_DISTANCE, paper_numbers.RECALL)] == [
        2,
        4,
        4,
    ]


def test_this_runs_rows_stand_above_the_papers(study):
    frame = report_tables.geometry_table(report_tables.read_methods(NAMES))
    assert [title for title, _ in blocks(frame)] == [report_tables.THIS_RUN, report_tables.PAPER]
    (_, ours), (_, papers) = blocks(frame)
    assert [label for label, _ in ours] == ["stage 1 only", "full", "no batch loss", "mean face"]
    assert ours[0][1][0] == "1.250 [1.150, 1.350]" and papers[1][1] == ["1.50", "0.13", "1.50", "0.11", "1.48", "0.11"]
    recall = report_tables.recall_table(report_tables.read_methods(NAMES))
    assert recall.loc[(report_tables.THIS_RUN, "random"), ("test photographs", "top-1")] == "0.500 [0.400, 0.600]"


def test_the_strongest_change_in_which_a_face_was_found_is_told(study):
    frame = report_tables.stress_table(report_tables.read_robustness(), CHANGES)
    assert frame.loc["full"].tolist() == ["0.700 [0.600, 0.800]", "0.800 [0.700, 0.900]"]
    styles = report_tables.style_table(report_tables.read_robustness(), CHANGES)
    assert list(styles.columns) == [("pencil", "likeness"), ("pencil", "consistency")]


def test_headers_span_their_groups():
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")])
    assert header_rows(pd.DataFrame([[1, 2, 3]], columns=columns)) == [
        [("a", 2), ("b", 1)],
        [("x", 1), ("y", 1), ("x", 1)],
    ]
    assert header_rows(pd.DataFrame([[1, 2]], columns=["a", "a"])) == [[("a", 1), ("a", 1)]]


def test_values_are_parted_from_their_intervals():
    assert split_interval("0.41 [0.38, 0.44]") == ("0.41", "[0.38, 0.44]")
    assert split_interval("Tran et al.") == ("Tran et al.", "")


def test_pictures_are_inside_and_small(study):
    address, width, height = inlined(study / "reports/figures/ablations.png")
    assert address.startswith("data:image/webp;base64,") and (width, height) == (1200, 300)
    assert inlined(study / "reports/figures/losses.svg")[0].startswith("data:image/svg+xml;base64,")


def test_parts_that_are_missing_are_said_to_be():
    full = Section("a", "A", parts=(table("T", pd.DataFrame([[1]]), "text"),), missing="gone")
    partial = Section("a", "A", parts=(*full.parts, table("T", None, "text")), missing="gone")
    assert not full.incomplete and partial.incomplete and len(partial.shown) == 1


def test_what_was_not_measured_is_left_out_with_a_sentence(study):
    whole = write_report(study)
    assert "Table 1." in whole and "Figure 4." in whole and "Figure 6." in whole and "dvc repro" not in whole
    metrics = study / "reports/metrics"
    for name in NAMES:
        (metrics / f"evaluate/{name}.json").write_text(json.dumps(evaluation(0.4, truth=False, groups=False)))
    (metrics / "methods/mean_face.json").unlink()
    (metrics / "robustness.json").unlink()
    for name in ("methods", "robustness", "styles"):
        (study / f"reports/figures/{name}.png").unlink()
    page = write_report(study)
    assert "Table 1." not in page and "nothing is measured in millimetres" in page
    assert "Figure 4." not in page and "dvc repro comparison" in page
    assert "Figure 6." not in page and "dvc repro robustness" in page
    assert "Nothing is known of these people" in page


def test_texts_are_text_and_photographs_of_people_are_announced(study):
    page = write_report(study, warning=PEOPLE_WARNING)
    assert "do not commit or publish them" in page
    assert "Photographs of people." not in write_report(study)


def test_facts_of_the_run(tmp_path):
    lock = "stages:\n  a:\n    outs:\n    - {path: data/x.h5, md5: abc}\n    - {path: reports/y.json, md5: def}\n"
    (tmp_path / "dvc.lock").write_text(lock)
    assert output_hashes(tmp_path / "dvc.lock") == {"data/x.h5": "abc"}
    assert output_hashes(tmp_path / "none") == {}
    (tmp_path / "params.yaml").write_bytes(b"")
    facts = sources(tmp_path / "params.yaml", tmp_path / "none")
    assert facts["SHA-256 of params.yaml"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert package_versions()["torch"].startswith("2.") and set(machine_facts()) >= {"finished", "processor"}


def test_executed_notebooks_become_pages(tmp_path):
    write_notebook(tmp_path, "01_demo", "The demonstration")
    write_notebook(tmp_path, "11_report", "Report")
    (page,) = convert_notebooks(tmp_path, leave_out="11_report")
    assert page == dict(name="01_demo", title="The demonstration", page="01_demo.html", seconds=90.0)
    assert "<h1" in (tmp_path / "01_demo.html").read_text() and not (tmp_path / "11_report.html").exists()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.PROGRAM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium): the page is not looked at in a browser")
    with browser.browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = "[...document.images].filter(i => !i.hidden && !(i.complete && i.naturalWidth)).map(i => i.alt)"
ANCHORS = "[...document.querySelectorAll('a[href^=\"#\"]')]"
LOST = f"{ANCHORS}.filter(a => !document.querySelector(a.getAttribute('href'))).length"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_whole(study, chromium, width):
    write_notebook(study / "reports/notebooks", "01_demo", "The demonstration")
    write_report(study, small_viewer())
    address = (study / "reports/index.html").as_uri()
    chromium.open(address, width)
    assert chromium.evaluate(f"document.fonts.ready.then(() => {OVERFLOW})") <= 0
    assert chromium.evaluate(BROKEN) == [] and chromium.evaluate(LOST) == 0
    wide = "[...document.querySelectorAll('main table, main img, canvas, pre')].filter(e => e.getBoundingClientRect()"
    assert chromium.evaluate(f"{wide}.right > innerWidth && !e.closest('.scroll')).length") == 0
    links = chromium.evaluate("[...document.querySelectorAll('main ul a')].map(a => a.getAttribute('href'))")
    assert links == ["notebooks/01_demo.html"] and all((study / "reports" / link).is_file() for link in links)
    assert chromium.problems() == [] and chromium.requests() == [address]


def test_the_view_draws_faces_beside_their_photographs(study, chromium):
    write_report(study, small_viewer())
    chromium.open((study / "reports/index.html").as_uri(), 1280)
    place = "(e => (({x, y, width, height}) => ({x, y: y + scrollY, width, height}))(e.getBoundingClientRect()))"
    region = chromium.evaluate(f"{place}(document.querySelector('canvas'))")
    assert region["width"] == region["height"] == 320

    def look():
        return np.asarray(Image.open(io.BytesIO(chromium.screenshot(**region))).convert("RGB"), int)

    first = look()
    drawn = np.abs(first - 128).max(2) > 20  # the background of the view is grey
    assert 0.05 < drawn.mean() < 0.9, "nothing is drawn: is WebGL switched off?"
    photograph = chromium.evaluate("document.querySelector('.face-viewer > img:not(:first-child)').src")
    chromium.evaluate("document.querySelectorAll('.face-viewer button')[1].click()")
    assert (np.abs(look() - first).max(2) > 20).mean() > 0.02
    assert chromium.evaluate("document.querySelector('.face-viewer > img:not(:first-child)').src") != photograph
    assert chromium.problems() == []


def test_the_template_asks_for_nothing_from_elsewhere():
    text = (ROOT / "templates/report.html").read_text()
    assert not re.search(r"https?://|@import|url\(", text)
