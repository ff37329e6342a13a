"""One page of what came out, with the machine and parameters that it came from.

Start at `page.py`.
"""
