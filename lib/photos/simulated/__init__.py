"""Photographs of people that do not exist, from the open model's generator; start at `camera.py`."""
