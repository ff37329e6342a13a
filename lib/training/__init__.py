"""The decoder, its losses (`losses.py`, Eqs. 2 to 6) and both stages of its training (`stage2.py`, 3.3)."""
