"""What the report says: its sections in their order, from the numbers and figures of a run."""

from lib.evaluation.tables import interval_text, look_up
from lib.report import results as report_results
from lib.report import tables as report_tables
from lib.report.page import FIGURES, Embedded, Section, figure, table

TITLE = "Unsupervised training for 3D morphable model regression"
PEOPLE_WARNING = (
    "This run used photographs that are not simulated. The pages, figures and notebooks under reports/ show faces of "
    "people: do not commit or publish them without their consent and the terms of the data set."
)


def lead(methods, params):
    """Write the abstract and how to read the page: a list of paragraphs."""
    first, full = methods["stage1"], methods["full"]
    frontal, before = (look_up(metrics, "similarity.all.frontal") for metrics in (full, first))
    recall, recall_before = (look_up(metrics, "recall.all.top1") for metrics in (full, first))
    moved = "nearer to" if frontal["value"] > before["value"] else "no nearer to"
    people = "simulated people" if params.photos.source == "simulated" else "people"
    return [
        "A network learns to turn a photograph into a 3D face from unlabelled photographs alone, by asking a face "
        "recognition network whether the rendered result is still the same person (Genova et al., CVPR 2018). This "
        "page is one run of an open reproduction.",
        f"On photographs of {people} it has never seen, training on photographs (stage 2, “full”) brings the faces "
        f"{moved} the photographs than synthetic training alone (stage 1): the similarity of photograph and face is "
        f"{interval_text(frontal)} instead of {interval_text(before)}, and the right person's photograph is the "
        f"nearest one for {recall['value']:.0%} of the faces instead of {recall_before['value']:.0%}.",
        f"How to read it. “Similarity” is the cosine of two embeddings of {params.networks.evaluation}, a recognition "
        "network that took no part in training: 1 for the same picture, about 0 for two people. Square brackets hold "
        "95 % intervals over people. Numbers of the paper are set beside ours for orientation: they come from another "
        "face model, other networks and other photographs, so that only their trend can be compared. Figures and "
        "tables have the paper's numbers.",
    ]


def sections(names, params, facts, viewer, pages):
    """Put the report together.

    Parameters
    ----------
    names : list of str
        The evaluated regressors.
    params : lib.core.params.Params
    facts : dict of str to DataFrame
        Tables about the run: `run`, `machine`, `packages`, `outputs`, `params`.
    viewer : str or None
        Markup of faces to turn.
    pages : list of dict
        Of `lib.report.notebook_pages.convert_notebooks`.

    Returns
    -------
    list of Section
    """
    methods = report_tables.read_methods(names)
    return [
        _run(facts),
        _faces(viewer),
        report_results.geometry(methods),
        report_results.likeness(methods),
        report_results.ablations({name: methods[name] for name in names}),
        report_results.compared(methods, names),
        report_results.robustness(),
        report_results.groups(methods["full"]),
        _parts(),
        _notebooks(pages),
    ]


def _run(facts):
    return Section(
        "run",
        "What was run",
        (
            "Everything below follows from the parameters, the seeds in them and the code; two runs give the same "
            "numbers.",
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


def _parts():
    return Section(
        "parts",
        "The face model and the networks",
        (
            "What the result rests on: the space that faces are predicted in, and the two networks that tell people "
            "apart.",
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
            "Each stage is a notebook: question, method, result. Their executed copies lie beside this page after a "
            "run, in reports/notebooks; the links work as long as the page stays there (their formulas are set by "
            "MathJax, which a browser fetches).",
        ),
        () if pages else (None,),
        "There are no executed notebooks here.",
        tuple(links),
    )


def _duration(seconds):
    return "" if seconds is None else f" ({seconds / 60:.1f} minutes)" if seconds >= 60 else f" ({seconds:.0f} s)"
