"""What the report says: its sections in their order, from the numbers and figures of a run."""

from pathlib import Path

from lib import report_tables
from lib.report_page import Embedded, Section, figure, table
from lib.tables import cell_text, group_table, measure

FIGURES = Path("reports/figures")
TITLE = "Unsupervised training for 3D morphable model regression"
PEOPLE_WARNING = (
    "This run used photographs that are not simulated. The pages, figures and notebooks under reports/ show faces of "
    "people: do not commit or publish them without their consent and the terms of the data set."
)


def lead(methods, params):
    """Write the abstract and how to read the page: a list of paragraphs."""
    first, full = methods["stage1"], methods["full"]
    frontal, before = (measure(metrics, "similarity.all.frontal") for metrics in (full, first))
    recall, recall_before = (measure(metrics, "recall.all.top1") for metrics in (full, first))
    moved = "nearer to" if frontal["value"] > before["value"] else "no nearer to"
    people = "simulated people" if params.photos.source == "simulated" else "people"
    return [
        "A network learns to turn a photograph into a 3D face from unlabelled photographs alone, by asking a face "
        "recognition network whether the rendered result is still the same person (Genova et al., CVPR 2018). This page "
        "is one run of an open reproduction.",
        f"On photographs of {people} it has never seen, training on photographs (stage 2, “full”) brings the faces "
        f"{moved} the photographs than synthetic training alone (stage 1): the similarity of photograph and face is "
        f"{cell_text(frontal)} instead of {cell_text(before)}, and the right person's photograph is the nearest one for "
        f"{recall['value']:.0%} of the faces instead of {recall_before['value']:.0%}.",
        f"How to read it. “Similarity” is the cosine of two embeddings of {params.networks.evaluation}, a recognition "
        "network that took no part in training: 1 for the same picture, about 0 for two people. Square brackets hold "
        "95 % intervals over people. Numbers of the paper are set beside ours for orientation: they come from another "
        "face model, other networks and other photographs, so that only their trend can be compared. Figures and tables "
        "have the paper's numbers.",
    ]


def sections(names, params, facts, viewer, pages):
    """Put the report together.

    Parameters
    ----------
    names : list of str
        The evaluated regressors.
    params : lib.params.Params
    facts : dict of str to DataFrame
        Tables about the run: `run`, `machine`, `packages`, `outputs`, `params`.
    viewer : str or None
        Markup of faces to turn.
    pages : list of dict
        Of `lib.notebook_pages.convert_notebooks`.

    Returns
    -------
    list of Section
    """
    methods = report_tables.read_methods(names)
    return [
        _run(facts),
        _faces(viewer),
        _geometry(methods),
        _likeness(methods),
        _ablations({name: methods[name] for name in names}),
        _compared(methods, names),
        _robustness(),
        _groups(methods["full"]),
        _parts(),
        _notebooks(pages),
    ]


def _run(facts):
    return Section(
        "run",
        "What was run",
        (
            "Everything below follows from the parameters, the seeds in them and the code; two runs give the same numbers.",
        ),
        (
            table("Run", facts["run"], "Model, networks, photographs and the sizes of both stages."),
            table("Machine and sources", facts["machine"], "When, where and from which state of the study."),
            table("Packages", facts["packages"], "versions of what computes", folded=True),
            table("Parameters", facts["params"], "all of params.yaml, with seeds", folded=True),
            table("Outputs", facts["outputs"], "MD5 of models, data and networks, from dvc.lock", folded=True),
        ),
        "There is no dvc.lock: this run was not made by dvc repro.",
    )


def _faces(viewer):
    return Section(
        "faces",
        "Photographs and faces",
        (
            "The people of these photographs were kept out of training. Pose, light and expression are not predicted: "
            "the network reads identity alone, and every face is drawn neutral, in one fixed light.",
        ),
        (
            figure(
                "Figure 1",
                FIGURES / "pairs/full.png",
                "Photographs in the network's crop, each above the neutral face that the full method gives it. What to "
                "look for: whether you would know the person. Hair and glasses are not part of the face model.",
            ),
            None
            if viewer is None
            else Embedded(
                "Faces to turn",
                viewer,
                "The same faces from all sides, on a light version of the mesh, beside their photographs. A likeness "
                "from the front can hide a wrong profile: turn it.",
            ),
        ),
        "The view of faces to turn needs the trained model's coefficients, which this run has not kept.",
    )


def _geometry(methods):
    return Section(
        "geometry",
        "Geometry",
        (
            "Faces are compared with the people's true neutral faces: one reconstruction a person and condition from the "
            "mean of their features, cropped to 95 mm around the tip of the nose, aligned by ICP with isotropic scale.",
        ),
        (
            table(
                "Table 1",
                report_tables.geometry_table(methods),
                "Symmetric point-to-plane distance in millimetres: mean and standard deviation over people, in three "
                "conditions of rising difficulty; lower is better. The paper's rows are measured on scans of MICC "
                "Florence, this run's on its own people.",
            ),
        ),
        "The true faces of these people are not known (photos.source), so that nothing is measured in millimetres.",
    )


def _likeness(methods):
    return Section(
        "likeness",
        "Likeness",
        (
            "Would somebody else recognise these faces? A second network, never trained with, compares each face with "
            "its photograph; pairs of photographs say what its similarities mean.",
        ),
        (
            figure(
                "Figure 5",
                FIGURES / "similarity.svg",
                "Top: similarity of all pairs of test photographs, of one person and of two. Below: similarity of each "
                "photograph and its face. A good method's distribution lies under that of same-person pairs.",
            ),
            table(
                "Table 2",
                report_tables.distance_table(methods),
                "Earth mover's distance from the distribution of photograph and face to those of same-person and of "
                "different-person pairs. The first should be small, the second large: 0 would be as good as another "
                "photograph.",
            ),
            table(
                "Table 3",
                report_tables.recall_table(methods),
                "Share of faces whose nearest photographs (the first, the first five) hold the right person. It depends "
                "on how many people there are to choose from: compare with the row “random”.",
            ),
        ),
        "Where photographs are unlabelled, nobody is known to be in two of them, and some tables cannot be made.",
    )


def _ablations(methods):
    return Section(
        "ablations",
        "Ablations",
        (
            "What is each loss for? The same photographs go through networks trained without one of them. Without the "
            "batch distribution loss nothing keeps the coefficients a plausible population; without the loopback loss "
            "nothing checks that the network can read its own output; with a single frontal view a face need only look "
            "right from one side.",
        ),
        (
            figure(
                "Figure 3",
                FIGURES / "ablations.png",
                "The same photographs under all regressors. Look for faces that leave the space of human faces (no "
                "batch loss) or exaggerate (no loopback).",
            ),
            table(
                "Ablations",
                report_tables.methods_table(methods),
                "Every measure of every regressor; in brackets, where a row has an ideal value, that value.",
            ),
            figure(
                "Likeness of the ablations",
                FIGURES / "likeness.svg",
                "Four measures with their 95 % intervals over people. Where the bars overlap, the run cannot tell the "
                "regressors apart.",
            ),
            figure(
                "Training",
                FIGURES / "losses.svg",
                "The four losses over the steps of stage 2. A variant without a loss still has its curve: the term is "
                "computed, and not trained with.",
            ),
        ),
        "Some figures of the stage ablations are missing.",
    )


def _compared(methods, names):
    others = {name: metrics for name, metrics in methods.items() if name in ("stage1", "full") or name not in names}
    ran = len(others) > 2
    return Section(
        "methods",
        "Methods to compare with",
        (
            "The paper's figure sets its results beside other methods. The methods here are re-made in this study, on the "
            "same face model and photographs; meshes or pictures of any other method can be added as a folder.",
        ),
        (
            figure(
                "Figure 4",
                FIGURES / "methods.png",
                "The same photographs under all methods. The mean face is what knowing nothing gives.",
            ),
            table(
                "Methods",
                report_tables.methods_table(others) if ran else None,
                "Every measure of every method, as for the ablations. Some methods are slow and measured on fewer "
                "people, which widens their intervals.",
            ),
        ),
        "The stage methods has not been run: dvc repro methods.",
    )


def _robustness():
    metrics = report_tables.read_robustness()
    changes = [] if metrics is None else list(metrics["changes"])
    return Section(
        "robustness",
        "Stress test",
        (
            "The same person should give the same face whatever the photograph. People are photographed once as usual, "
            "and again under one change at a time; consistency is the similarity of the two faces.",
        ),
        (
            figure(
                "Figure 6",
                FIGURES / "robustness.png",
                "One person under growing changes, each photograph above its face. The rows of faces should not change.",
            ),
            figure(
                "Consistency",
                FIGURES / "robustness_curves.svg",
                "Similarity of the face to that of the unchanged photograph over the strength of each change, with 95 % "
                "intervals over people. The dotted line compares the photographs themselves; the dashed line is what two "
                "people's faces have: a curve that reaches it has lost the person.",
            ),
            table(
                "Consistency",
                report_tables.stress_table(metrics, changes) if metrics else None,
                "The same at the strongest change in which a face was found.",
            ),
            figure(
                "Figure 7",
                FIGURES / "styles.png",
                "Faces of pictures that are no photographs. Fitting a render to such pixels would fail; identity "
                "features hardly mind how a face is drawn.",
            ),
            table(
                "Styles",
                report_tables.style_table(metrics, changes) if metrics else None,
                "Likeness: similarity of the face and the original photograph. Consistency: similarity of the face and "
                "that of the original photograph.",
            ),
            table(
                "Detection",
                report_tables.found_table(metrics) if metrics else None,
                "share of the changed photographs in which the detector finds a face; the others are left out above",
                folded=True,
            ),
        ),
        "The stage robustness has not been run: dvc repro robustness.",
    )


def _groups(metrics):
    known = "groups" in metrics and metrics["groups"]
    return Section(
        "groups",
        "Groups of people",
        (
            "The paper discusses fairness without numbers (section 5). Here every measure is taken by group of people. A "
            "difference between groups can come from the face model, the photographs, either recognition network or the "
            "method; intervals that overlap show none.",
        ),
        (
            table(
                "Groups",
                group_table(metrics) if known else None,
                "The full method by age, gender and ethnicity as they are simulated or reported, with the number of "
                "photographs. Distances and recalls of small groups are uncertain.",
            ),
        ),
        "Nothing is known of these people's age, gender or ethnicity.",
    )


def _parts():
    return Section(
        "parts",
        "The face model and the networks",
        (
            "What the result rests on: the space that faces are predicted in, and the two networks that tell people apart.",
        ),
        (
            figure(
                "Face model",
                FIGURES / "face_model.png",
                "The mean (first) and random faces of the model: what coefficients of a standard normal distribution "
                "look like.",
            ),
            table(
                "Identity networks",
                report_tables.verification_table(),
                "How well both networks tell the people of the test photographs apart. The area under the ROC curve is "
                "the chance that a pair of one person is more similar than a pair of two.",
            ),
        ),
        "Where nobody is known to be in two photographs, the networks cannot be tested.",
    )


def _notebooks(pages):
    links = [
        (f"notebooks/{page['page']}", page["name"], f": {page['title']}" + _duration(page["seconds"])) for page in pages
    ]
    return Section(
        "notebooks",
        "How each number came about",
        (
            "Each stage is a notebook: question, method, result. Their executed copies lie beside this page after a run, "
            "in reports/notebooks; the links work as long as the page stays there.",
        ),
        () if pages else (None,),
        "There are no executed notebooks here.",
        tuple(links),
    )


def _duration(seconds):
    return "" if seconds is None else f" ({seconds / 60:.1f} minutes)" if seconds >= 60 else f" ({seconds:.0f} s)"
