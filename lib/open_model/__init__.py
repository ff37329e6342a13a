"""The open default model: faces generated from CC0 assets, and their principal components in the Basel layout.

Start at `build.py`; `generator.py` makes one person.
"""
