"""The decoder, its losses (paper, Eqs. 2 to 6) and both stages of its training (3.3).

Start at `losses.py` for the equations and at `stage2.py` for a step. Imports nothing here.
"""
