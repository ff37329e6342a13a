"""Numba twins of what `rendering`, `face_model.model` and `training.augmentation` say in torch.

Only these three import them. Each file begins with what it is the fast twin of.
"""
