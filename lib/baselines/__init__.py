"""What the paper compares with (4.1 to 4.4), measured as its own results are.

Start at `methods.py`.
"""
