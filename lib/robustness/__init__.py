"""The same people under other pose, light, expression, occlusion and style (paper 4.5, Figs. 6 and 7).

Start at `protocol.py`.
"""
