"""The report: tables beside the paper's, parts that were not measured, and the pages as a browser shows them."""

import contextlib
import io
import json
import re
import shutil
from dataclasses import replace

import browser
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from derivations.claim_variants import keep_variant
from lib.core.params import load_params
from lib.core.strict import read_yaml
from lib.evaluation import tables
from lib.evaluation.bootstrap import difference
from lib.figures import loss_curves, save_figure
from lib.figures_faces import face_grid
from lib.report import claims, facts, page
from lib.report import tables as report_tables
from lib.run import execute_notebook
from lib.viewer import face_viewer

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["stage1", "full", "no_batch", "no_loopback", "single_view", "recommended"]
CHANGES = {"pose": dict(none=0.0, largest=60.0), "blur": dict(none=0.0, largest=0.1)}


def cell(value):
    draws = f"{value - 0.1:.5g} {value:.5g} {value + 0.1:.5g}"
    return dict(value=value, low=value - 0.1, high=value + 0.1, n=9, draws=draws)


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
    for name in ("docs", "lib", "templates"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
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
    grid = save_figure(face_grid(pictures), figures / "pairs/full.png")
    for name in ("ablations", "methods", "robustness", "styles", "face_model"):
        shutil.copy(grid, figures / f"{name}.png")
    (folder / "dvc.lock").write_text("stages: {a: {outs: [{path: data/x.h5, md5: abc}]}}")
    frame = pd.DataFrame(dict(step=[1, 2], identity=[0.5, 0.4], batch=[3, 2], loop=[9, 8], parameter=[5, 4]))
    curves = save_figure(loss_curves({"full": frame}), figures / "losses.svg")
    plots = "similarity", "likeness", "robustness_curves", "methods_similarity", "sources_similarity"
    for name in plots:
        shutil.copy(curves, figures / f"{name}.svg")
    plt.close("all")
    return folder


@pytest.fixture
def study(finished_run, tmp_path, monkeypatch):
    """The same, to be worked in."""
    shutil.copytree(finished_run, tmp_path / "study", symlinks=True)
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def write_report(folder):
    """Execute the report's notebook, with a view of two small faces, and write the pages; the report's text."""
    notebook = nbformat.read(ROOT / "notebooks/11_report.ipynb", 4)
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and "viewer = " in cell.source]
    cell.source = "HTML(Path('viewer.html').read_text())"
    (folder / "viewer.html").write_text(small_viewer())
    nbformat.write(notebook, folder / "report.ipynb")
    (folder / "reports/notebooks").mkdir(exist_ok=True)
    write_notebook(folder / "reports/notebooks/01_demo.ipynb", "The demonstration")
    with contextlib.chdir(folder):
        execute_notebook("report.ipynb", "reports/notebooks/11_report.ipynb", {})
        page.main()
    return (folder / "reports/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(finished_run, tmp_path_factory):
    """The folder of a run with its report."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("report") / "study", symlinks=True)
    write_report(folder)
    return folder


def write_notebook(path, title):
    cells = [nbformat.v4.new_markdown_cell(f"# 1 · {title}\n\n[Text](../docs/metrics.md)")]
    cells.append(nbformat.v4.new_code_cell("1 + 1", outputs=[nbformat.v4.new_output("stream", text="two")]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def small_viewer():
    random = np.random.default_rng(0)
    vertices = np.array([[-60, -60, 0], [60, -60, 0], [0, 80, 0], [0, 0, 60]], float)
    vertices = np.stack([vertices, 0.5 * vertices])
    colours = random.uniform(0.3, 1, (2, 4, 3))
    triangles = [[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]]
    photographs = random.integers(0, 255, (2, 30, 30, 3), np.uint8)
    return face_viewer(["one", "two"], vertices, colours, triangles, photographs[0], 320, photographs)


def test_the_papers_numbers_are_the_same_in_all_tables():
    kinds = dict(recall=report_tables.RECALL, geometry=report_tables.GEOMETRY)
    kinds["earth_movers_distance"] = report_tables.EARTH_MOVERS_DISTANCE
    columns = dict(top1="top-1", top5="top-5", different="diff.", deviation="std.")
    for beside in report_tables.BESIDE.itertuples():
        kind, condition, measure = beside.measure.split(".")
        row = "random" if measure.startswith("random_") else "Genova et al. (the paper)"
        column = columns.get(measure.removeprefix("random_"), measure)
        for number, data in re.findall(r"([\d.]+) \(([\w-]+)", beside.published) if kind in kinds else ():
            assert kinds[kind].loc[row, (condition if data == "MICC" else data, column)] == number, beside
    known = {number for table in kinds.values() for number in table.to_numpy().ravel()}
    assert set(re.findall(r"\d\.\d+", " ".join(claims.CLAIMS["paper"]))) <= known


def test_the_papers_tables_are_whole():
    assert report_tables.GEOMETRY.loc["Tran et al. [29]"].tolist() == ["1.93", "0.27", "2.02", "0.25", "1.86", "0.23"]
    ours = "Genova et al. (the paper)"
    assert report_tables.EARTH_MOVERS_DISTANCE.loc[ours, ("MICC", "same")] == "0.09"
    assert report_tables.EARTH_MOVERS_DISTANCE.loc["ground-truth scans", ("MICC", "diff.")] == "0.41"
    assert report_tables.RECALL.loc["MoFA [27]", ("MoFA-Test", "top-5")] == "0.54"
    assert [len(t) for t in (report_tables.GEOMETRY, report_tables.EARTH_MOVERS_DISTANCE, report_tables.RECALL)] == [
        2,
        4,
        4,
    ]


def test_this_runs_rows_stand_above_the_papers(study):
    frame = report_tables.geometry_table(report_tables.read_methods(NAMES))
    assert list(dict.fromkeys(frame.index.get_level_values(0))) == [report_tables.THIS_RUN, report_tables.PAPER]
    ours, papers = frame.loc[report_tables.THIS_RUN], frame.loc[report_tables.PAPER]
    assert list(ours.index)[:3] == ["stage 1 only", "full", "no batch loss"] and ours.index[-1] == "mean face"
    assert ours.iloc[0, 0] == "1.250 [1.150, 1.350]"
    assert papers.iloc[1].tolist() == ["1.50", "0.13", "1.50", "0.11", "1.48", "0.11"]
    recall = report_tables.recall_table(report_tables.read_methods(NAMES))
    assert recall.loc[(report_tables.THIS_RUN, "random"), ("test photographs", "top-1")] == "0.500 [0.400, 0.600]"


def test_whether_a_claim_holds_is_told_by_the_intervals(study):
    told = [claims.verdict(difference(cell(0.5), cell(0.9), factor)) for factor in (1, 0.55, 0.3)]
    assert told == [claims.HOLDS, claims.OPEN, claims.FAILS] and claims.verdict(None) == claims.NOT_RUN
    (study / "reports/metrics/skin.json").write_text(json.dumps({"full": cell(3.0), "mean_face": cell(9.0)}))
    methods = report_tables.read_methods(NAMES)
    assert methods["mean_face"]["skin"]["all"]["delta_e"]["value"] == 9
    methods["fit_regressed"] = evaluation(0.3) | dict(skin=dict(all=dict(delta_e=cell(2.0))))
    table = claims.claims_table(methods, {})
    assert table.loc["skin nearer to the truth than fits regressed", "verdict"] == claims.FAILS
    assert table.loc["half its deviation over people", "verdict"] == claims.FAILS
    pairs = table.loc["nearer to same-person than to different-person pairs"]
    assert pairs["verdict"] == claims.HOLDS and pairs["paper"] == "0.09 against 0.32"
    assert pairs["this run"] == "full 0.100 [0.000, 0.200] · full 0.400 [0.300, 0.500]"
    assert pairs["difference"] == "-0.300 [-0.300, -0.300]"
    deeper = table.loc["a deeper decoder does not help (2 % more alike)"]
    assert deeper[["this run", "difference", "verdict"]].tolist() == ["", "", claims.NOT_RUN]


def test_variants_measured_once_count_with_the_same_parameters_alone(study):
    params, metrics = load_params(), evaluation(0.3)
    assert claims.read_variants(params) == {}
    keep_variant(params, "embedding_input", {"features": "embedding"}, metrics)
    kept = claims.read_variants(replace(params, variants={"full": {}}, robustness=replace(params.robustness, steps=1)))
    table = claims.claims_table({"full": evaluation(0.9)}, kept)
    about = claims.CLAIMS.loc[claims.CLAIMS["smaller"] == "embedding_input", "claim"]
    assert list(kept) == ["embedding_input"] and table.loc[about, "verdict"].tolist() == [claims.HOLDS]
    assert claims.read_variants(replace(params, stage2=replace(params.stage2, steps=7))) == {}


def test_all_claims_can_be_compared_person_by_person_and_all_variants_are_claims():
    methods, measures = ({*claims.CLAIMS[f"smaller{of}"], *claims.CLAIMS[f"larger{of}"]} for of in ("", "_measure"))
    assert {key.removeprefix("sources.small_gallery.") for key in measures} <= {*tables.PAIRED, "skin.all.delta_e"}
    assert {*read_yaml(ROOT / "presets/claims.yaml")["variants"]} <= methods


def test_the_strongest_change_in_which_a_face_was_found_is_told(study):
    frame = report_tables.stress_table(report_tables.read_robustness())
    assert frame.loc["full"].tolist() == ["0.700 [0.600, 0.800]", "0.800 [0.700, 0.900]"]
    styles = report_tables.style_table(report_tables.read_robustness())
    assert list(styles.columns) == [("pencil", "likeness"), ("pencil", "consistency")]


def header_of(frame):
    """The names of a table's header and how many columns each spans."""
    head = re.search("<thead>.*</thead>", page.table(frame).data, re.S)[0]
    rows = [re.findall(r'<th colspan="(\d)">(.*?)</th>', row) for row in head.split("<tr>")[1:]]
    return [[(name, int(span)) for span, name in row] for row in rows]


def test_headers_span_their_groups():
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")])
    assert header_of(pd.DataFrame([[1, 2, 3]], columns=columns)) == [
        [("a", 2), ("b", 1)],
        [("x", 1), ("y", 1), ("x", 1)],
    ]
    assert header_of(pd.DataFrame([[1, 2]], columns=["a", "a"])) == [[("a", 1), ("a", 1)]]


def test_tables_have_blocks_and_part_values_from_their_intervals():
    index = pd.MultiIndex.from_tuples([("ours", "<a>"), ("ours", "b"), ("theirs", "c")])
    text = page.table(pd.DataFrame({"x": ["0.41 [0.38, 0.44]", "Tran [29] et al.", ""]}, index=index)).data
    assert re.findall(r'class="block" colspan="2">(.*?)<', text) == ["ours", "theirs"] and text.count("<tbody>") == 2
    assert '<td>0.41 <span class="interval">[0.38, 0.44]</span></td>' in text and "<td>Tran [29] et al.</td>" in text
    assert '<th scope="row">&lt;a&gt;</th>' in text


def test_pictures_are_inside_and_small(study):
    shown = page.figure("reports/figures/ablations.png").data
    assert 'src="data:image/webp;base64,' in shown and 'width="1200" height="300"' in shown
    assert 'src="data:image/svg+xml;base64,' in page.figure("reports/figures/losses.svg").data


def test_what_is_missing_is_said_to_be():
    assert "<table" in page.table(pd.DataFrame([["1"]]), "gone").data
    for shown in (page.table(None, "gone"), page.table({}, "gone"), page.figure("nowhere.png", "gone")):
        assert shown.data == '<p class="missing">gone</p>'


def test_the_report_shows_what_was_measured(report):
    text = (report / "reports/index.html").read_text(encoding="utf-8")
    assert text.count("<table") == 16 and text.count("<img ") == 16
    assert "dvc repro" not in text and "Nothing is known" not in text and "load_params" not in text
    assert "is 0.500 [0.400, 0.600] instead of 0.400 [0.300, 0.500]" in text
    assert {"full", "mean_face"} <= set(pd.read_csv(report / "reports/metrics.csv")["method"])


def test_of_what_was_not_measured_a_sentence_says_why(study):
    metrics = study / "reports/metrics"
    for name in NAMES:
        (metrics / f"evaluate/{name}.json").write_text(json.dumps(evaluation(0.4, truth=False, groups=False)))
    (metrics / "methods/mean_face.json").unlink()
    (metrics / "robustness.json").unlink()
    for name in ("methods", "robustness", "styles"):
        (study / f"reports/figures/{name}.png").unlink()
    parameters = (study / "params.yaml").read_text()
    (study / "params.yaml").write_text(parameters.replace("source: simulated", "source: lfw", 1))
    text = write_report(study)
    assert "nothing is measured in millimetres" in text and "Nothing is known of these people" in text
    assert "dvc repro comparison" in text and "dvc repro robustness" in text
    assert "do not commit or publish them" in text


def test_facts_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert facts.output_hashes() == {}
    lock = "stages:\n  a:\n    outs:\n    - {path: data/x.h5, md5: abc}\n    - {path: reports/y.json, md5: def}\n"
    (tmp_path / "dvc.lock").write_text(lock)
    assert facts.output_hashes() == {"data/x.h5": "abc"}
    (tmp_path / "params.yaml").write_bytes(b"")
    named = facts.sources()
    assert named["SHA-256 of params.yaml"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert set(facts.machine_facts()) == {"processor", "memory", "system"}


def test_versions_of_packages_that_may_be_missing(monkeypatch):
    monkeypatch.setattr(facts, "PACKAGES", ("torch", "no-such-package"))
    versions = facts.package_versions()
    assert versions["torch"].startswith("2.") and versions["no-such-package"] == "not installed"


def test_executed_notebooks_become_pages(report):
    assert [path.name for path in (report / "reports/pages").iterdir()] == ["01_demo.html"]
    text = (report / "reports/pages/01_demo.html").read_text(encoding="utf-8")
    assert "<title>The demonstration</title>" in text and "two" in text and 'href="../../docs/metrics.md"' in text
    report_page = (report / "reports/index.html").read_text(encoding="utf-8")
    assert '<a href="pages/01_demo.html">01_demo</a>: The demonstration' in report_page


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_formulas_become_mathml(notebook, monkeypatch):
    monkeypatch.chdir(ROOT)
    read = nbformat.read(notebook, 4)
    prose = "\n".join(cell.source for cell in read.cells if cell.cell_type == "markdown")
    formulas = len(re.findall(r"\$\$.+?\$\$|\$.+?\$", prose, re.S))
    text = page.page_of(read)
    shown = re.findall("<math.*?</math>", text)
    assert len(shown) == formulas and text == page.page_of(read)
    assert not [formula for formula in shown if "\\" in formula], "a command that is not known is shown as it is"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.PROGRAM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium): the pages are not looked at in a browser")
    with browser.browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = "[...document.images].filter(i => !i.hidden && !(i.complete && i.naturalWidth)).map(i => i.alt)"
ANCHORS = "[...document.querySelectorAll('a[href^=\"#\"]')]"
LOST = f"{ANCHORS}.filter(a => !document.getElementById(decodeURIComponent(a.hash.slice(1)))).length"
PROSE = "[...document.querySelectorAll('.text_cell')].map(e => e.innerText).join(' ')"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_report_whole(report, chromium, width):
    address = (report / "reports/index.html").as_uri()
    chromium.open(address, width)
    assert chromium.evaluate(f"document.fonts.ready.then(() => {OVERFLOW})") <= 0
    assert chromium.evaluate(BROKEN) == [] and chromium.evaluate(LOST) == 0
    wide = "[...document.querySelectorAll('main table, main img, canvas, pre')].filter(e => e.getBoundingClientRect()"
    assert chromium.evaluate(f"{wide}.right > innerWidth && !e.closest('.scroll')).length") == 0
    links = chromium.evaluate("[...document.querySelectorAll('main ul a')].map(a => a.getAttribute('href'))")
    assert links == ["pages/01_demo.html"] and all((report / "reports" / link).is_file() for link in links)
    assert chromium.evaluate("document.querySelectorAll('nav a').length") == 11
    assert chromium.problems() == [] and chromium.requests() == [address]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_browser_shows_formulas_without_a_network(tmp_path, monkeypatch, chromium, notebook, width):
    monkeypatch.chdir(ROOT)
    (tmp_path / "page.html").write_text(page.page_of(nbformat.read(notebook, 4)), encoding="utf-8")
    address = (tmp_path / "page.html").as_uri()
    chromium.open(address, width)
    assert chromium.evaluate(OVERFLOW) <= 0
    assert not re.search(r"\$|\\[A-Za-z]", chromium.evaluate(PROSE))
    heights = chromium.evaluate("[...document.querySelectorAll('math')].map(e => e.getBoundingClientRect().height)")
    assert all(8 < height < 200 for height in heights)
    assert chromium.problems() == [] and chromium.requests() == [address]


def test_the_view_draws_faces_beside_their_photographs(report, chromium):
    chromium.open((report / "reports/index.html").as_uri(), 1280)
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
    text = (ROOT / "templates/page.html").read_text()
    assert not re.search(r"https?://|@import|url\(", text)
