"""The methods that the paper compares with (4.1 to 4.4), under the same protocol.

Start at `methods.py`.
"""
