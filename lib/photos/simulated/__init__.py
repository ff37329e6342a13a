"""Photographs of people that do not exist: the open model's generator with hair, clothes, a camera and its faults.

Start at `camera.py`.
"""
