"""A mesh and a scene in, a picture out (paper 3.2.1, 3.2.2): crop, camera, scene, rasteriser, Phong shading.

Start at `renderer.py`. Each step is readable torch or numpy; what is too slow for training that way has a compiled twin
in `rendering/kernels`, tested against it.
"""
