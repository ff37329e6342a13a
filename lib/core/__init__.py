"""What every package needs: parameters, files, hashes, processes, progress. Imports nothing else of `lib`.

Start at `params.py`: `params.yaml` as frozen dataclasses; wrong names and types are refused before any work starts.
"""
