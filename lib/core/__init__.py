"""What every package needs and no result is about: parameters, files, hashes, processes, progress.

Start at `params.py`: `params.yaml` as frozen dataclasses, refused before any work starts where a name or type is wrong.
Imports nothing else of `lib`.
"""
