"""What every package needs: parameters, files, hashes, processes, progress.

Start at `params.py`: `params.yaml` as frozen dataclasses; wrong names and types are refused before any work starts.
Imports nothing else of `lib`.
"""
