"""Numba twins of what `rendering` says in torch, for the CPU; each file begins with what it is the fast twin of."""
