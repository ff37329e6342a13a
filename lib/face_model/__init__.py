"""The 3D morphable model (paper, Eq. 1): vertices and albedo, its file in the Basel layout, meshes on disk.

Start at `model.py`.
"""
