"""Draw one step of stage 2 as a graph in the names of the code (Fig. 2): `docs/training_step.svg`.

python -m derivations.training_step
"""

import matplotlib.pyplot as plt

from lib.figures import save_figure

REAL, SYNTHETIC, FIXED, TRAINED, LOSS = "#cfe2f3", "#f8d0c8", "#e4e4e4", "#fdf0c0", "#ffffff"
STEP = {  # place and colour of each box; a box's name begins with that of a class or function
    "Photographs": (0, 3, REAL),
    "IdentityNetwork": (1, 3, FIXED),
    "Regressor": (2, 3, TRAINED),
    "Coefficients": (3, 3, REAL),
    "render": (4, 3, REAL),
    "IdentityNetwork of renders": (5, 3, FIXED),
    "Regressor of renders": (6, 3, TRAINED),
    "sample_scenes": (4, 4.2, FIXED),
    "batch_distribution_loss": (3, 1.8, LOSS),
    "identity_loss": (5, 1.8, LOSS),
    "loopback_loss": (6, 4.2, LOSS),
    "SyntheticFaces": (0, 0.6, SYNTHETIC),
    "Regressor of synthetic": (2, 0.6, TRAINED),
    "parameter_loss": (3, 0.6, LOSS),
    "total_loss": (7, 1.8, LOSS),
}
ARROWS = (  # from, to, what goes along, bend
    ("Photographs", "IdentityNetwork", "", 0),
    ("IdentityNetwork", "Regressor", "features", 0),
    ("Regressor", "Coefficients", "", 0),
    ("Coefficients", "render", "", 0),
    ("sample_scenes", "render", "pose, light", 0),
    ("render", "IdentityNetwork of renders", "views", 0),
    ("IdentityNetwork of renders", "Regressor of renders", "features", 0),
    ("IdentityNetwork", "identity_loss", "embeddings", 0),
    ("IdentityNetwork of renders", "identity_loss", "embeddings", 0),
    ("Coefficients", "batch_distribution_loss", "", 0),
    ("Coefficients", "loopback_loss", "", 0),
    ("Regressor of renders", "loopback_loss", "", 0),
    ("SyntheticFaces", "Regressor of synthetic", "features", 0),
    ("SyntheticFaces", "parameter_loss", "coefficients", 0.2),
    ("Regressor of synthetic", "parameter_loss", "", 0),
    ("parameter_loss", "total_loss", "", 0),
    ("batch_distribution_loss", "total_loss", "", 0.12),
    ("identity_loss", "total_loss", "", 0),
    ("loopback_loss", "total_loss", "", 0),
)


def training_step():
    """The boxes of `STEP`, joined by `ARROWS`: a matplotlib Figure."""
    figure, axis = plt.subplots(figsize=(12, 4.6), layout="constrained")
    axis.set(xlim=(-0.5, 7.4), ylim=(-0.1, 4.5))
    axis.axis("off")
    boxes = {}
    for name, (x, y, colour) in STEP.items():
        look = dict(boxstyle="round,pad=0.5", facecolor=colour, edgecolor="#555555")
        text = name.split()[0].replace("_", "_\n", 1) if len(name.split()[0]) > 16 else name.split()[0]
        boxes[name] = axis.text(x, y, text, family="monospace", fontsize=8, ha="center", va="center", bbox=look)
    for start, end, label, bend in ARROWS:
        (x0, y0), (x1, y1) = STEP[start][:2], STEP[end][:2]
        arrow = dict(arrowstyle="->", color="#555555", connectionstyle=f"arc3,rad={bend}")
        arrow |= dict(patchA=boxes[start].get_bbox_patch(), patchB=boxes[end].get_bbox_patch(), shrinkA=2, shrinkB=2)
        axis.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        axis.text((x0 + x1) / 2, (y0 + y1) / 2 - bend * (x1 - x0) / 2, label, fontsize=7, ha="center", va="bottom")
    return figure


if __name__ == "__main__":
    save_figure(training_step(), "docs/training_step.svg")
