"""The report's sections of results: each with its tables and figures and what they mean."""

from lib.evaluation.tables import group_measures, group_table
from lib.figures import group_intervals
from lib.report import tables as report_tables
from lib.report.page import FIGURES, Embedded, Section, drawn, figure, table


def geometry(methods):
    """Table 1: millimetres to the true faces."""
    return Section(
        "geometry",
        "Geometry",
        (
            "Faces are compared with the people's true neutral faces: one reconstruction a person and condition from "
            "the mean of their features, cropped to 95 mm around the tip of the nose, aligned by ICP with isotropic "
            "scale.",
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


def likeness(methods):
    """Figure 5, Tables 2 and 3: what an independent network says of the faces."""
    return Section(
        "likeness",
        "Likeness",
        (
            "Would somebody else recognise these faces? A second network, never trained with, compares each face with "
            "its photograph; pairs of photographs say what its similarities mean. From photographs their mean is "
            "subtracted, from renders that of renders of random faces, so that being a render is no likeness.",
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
                "Share of faces whose nearest photographs (the first, the first five) hold the right person. It "
                "depends on how many photographs there are to choose from: compare with the row “random”. Iterative "
                "fits are looked up among the few photographs that were fitted.",
            ),
        ),
        "Where photographs are unlabelled, nobody is known to be in two of them, and some tables cannot be made.",
    )


def ablations(methods):
    """Figure 3: what each loss is for."""
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


def compared(methods, names):
    """Figure 4: this study beside other methods."""
    others = {name: metrics for name, metrics in methods.items() if name in ("stage1", "full") or name not in names}
    ran = len(others) > 2
    return Section(
        "methods",
        "Methods to compare with",
        (
            "The paper's figure sets its results beside other methods. The methods here are re-made in this study, on "
            "the same face model and photographs; meshes or pictures of any other method can be added as a folder.",
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
        "The stage comparison has not been run: dvc repro comparison.",
    )


def robustness():
    """Figures 6 and 7: one person under other circumstances, and drawings."""
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
                "One person under growing changes, each photograph above its face. The rows of faces should not "
                "change.",
            ),
            figure(
                "Consistency",
                FIGURES / "robustness_curves.svg",
                "Similarity of the face to that of the unchanged photograph over the strength of each change, with 95 "
                "% intervals over people. The dotted line compares the photographs themselves; the dashed line is what "
                "two people's faces have: a curve that reaches it has lost the person.",
            ),
            table(
                "Consistency",
                report_tables.stress_table(metrics, changes) if metrics else None,
                "The same at the strongest change in which a face was found.",
            ),
            figure(
                "Figure 7",
                FIGURES / "styles.png",
                "Faces of pictures that are no photographs. Fitting a render to such pixels would fail; how much "
                "identity features mind is told below.",
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


def groups(metrics):
    """Every measure by group of people."""
    known = "groups" in metrics and metrics["groups"]
    return Section(
        "groups",
        "Groups of people",
        (
            "The paper discusses fairness without numbers (section 5). Here every measure is taken by group of people. "
            "A difference between groups can come from the face model, the photographs, either recognition network or "
            "the method; where intervals overlap, this run cannot tell the groups apart.",
        ),
        (
            None
            if not known
            else Embedded(
                "Groups",
                drawn(group_intervals(*group_measures(metrics))),
                "Three measures of the full method by group, with 95 % intervals over people; the grey line is the "
                "value of all people.",
            ),
            table(
                "Groups",
                group_table(metrics) if known else None,
                "The full method by age, gender and ethnicity as they are simulated or reported, with the number of "
                "photographs. Distances and recalls of small groups are uncertain.",
            ),
        ),
        "Nothing is known of these people's age, gender or ethnicity.",
    )
