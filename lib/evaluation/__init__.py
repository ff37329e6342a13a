"""Section 4 of the paper: every number of its tables, with intervals over people.

Start at `protocol.py`. Imports nothing here.
"""
