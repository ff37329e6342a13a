"""A linear model's product: coefficients of a batch in, the values of all vertices out (paper 3.2, Eq. 1).

The basis, 127 MB for 53,000 vertices and 199 components, is the largest thing that a step of training reads, forward
and backward. It is kept in blocks that a core goes through from one end to the other in both directions.
"""

import numpy as np
import torch
import torch.nn.functional as F

from lib.rendering.kernels.decode import BLOCK, TOGETHER, DecodeOnCpu


def pack_basis(basis):
    """Cut a basis (V, K) into blocks: Tensor (ceil(V / BLOCK), ceil(K / TOGETHER) * TOGETHER, BLOCK).

    Entry (p, k, j) is the k-th component of value p * BLOCK + j; zeros fill up.
    """
    values, components = basis.shape
    padded = F.pad(basis, (0, -components % TOGETHER, 0, -values % BLOCK))
    # torch would not ask the system for large pages as numpy does: from them, decoding takes an eighth less
    packed = np.ascontiguousarray(padded.unflatten(0, (-1, BLOCK)).mT.cpu().numpy())
    return torch.from_numpy(packed).to(basis.device)


def unpack_basis(packed, values, components):
    """Return the basis (V, K) that `pack_basis` was given."""
    return packed.mT.reshape(-1, packed.shape[1])[:values, :components].contiguous()


def decode(coefficients, mean, packed, limits=(-float("inf"), float("inf"))):
    """Work out mean + coefficients @ basis.T, cut off at limits.

    Parameters
    ----------
    coefficients : Tensor (B, K)
    mean : Tensor (V,)
    packed : Tensor
        The basis (V, K), as `pack_basis` returns it; it gets no gradient.
    limits : (float, float)
        Least and largest value.

    Returns
    -------
    Tensor (B, V)
        Differentiable with respect to the coefficients where it is between the limits. On the CPU in float32 the same
        input gives the same bytes, forward and backward, at any number of threads.
    """
    if packed.device.type == "cpu" and packed.dtype == torch.float32:
        return DecodeOnCpu.apply(coefficients.contiguous(), mean, packed, limits)
    padded = F.pad(coefficients, (0, packed.shape[1] - coefficients.shape[1]))
    products = torch.bmm(padded.expand(len(packed), -1, -1), packed)
    return (mean + products.transpose(0, 1).flatten(1)[:, : len(mean)]).clamp(*limits)
