"""The same people under other pose, light, expression, occlusion and style (4.5); start at `protocol.py`."""
