"""From one photograph to a face: who it is, and how it was photographed.

The decoder gives the identity (`reconstructor.py`); the rest is the inverse rendering that the paper's section 5 names
as future work. A landmark network finds 468 points (`face_mesh.py`). Pose, camera, expression and what the decoder left
unknown of the shape follow from them by least squares (`pose.py`), the light from the pixels (`light.py`).
`results.py` writes what a person gets.
"""
