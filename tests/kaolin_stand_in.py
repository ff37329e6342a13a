"""`kaolin.render.mesh.rasterize` in plain torch, slow, for tests where there is no GPU; follows Kaolin 0.18's rules."""

import torch

INDICES = 2**31


def rasterize(
    height, width, face_vertices_z, face_vertices_image, face_features, valid_faces=None, multiplier=None, eps=None,
    backend="cuda",
):  # fmt: skip
    """Find the valid face with the largest z at each pixel; see Kaolin's documentation. Its features are left zero.

    Both windings are drawn; the first of several equally near faces wins; the bounding box excludes its upper ends.
    Without a valid face Kaolin looks up the last of none; its kernels count in 32 bits.
    """
    assert face_vertices_z.shape == face_vertices_image.shape[:3] == face_features.shape[:3]
    assert valid_faces is not None and face_vertices_z.isfinite().all() and face_vertices_image.isfinite().all()
    assert (
        face_vertices_image.numel() < INDICES and face_features.shape[3] * len(valid_faces) * height * width < INDICES
    )
    if backend == "nvdiffrast":
        assert height % 8 == width % 8 == 0
        steps = 8 * torch.tensor([width, height])
        face_vertices_image = (face_vertices_image * steps).round() / steps
    elif not valid_faces.any():
        raise IndexError("index is out of bounds for dimension with size 0")
    scale = (1e-8 if eps is None else eps, 1000 if multiplier is None else multiplier)
    pictures = zip(face_vertices_z, face_vertices_image, valid_faces, strict=True)
    ids = torch.stack([_one_picture(height, width, *tensors, *scale) for tensors in pictures])
    return face_features.new_zeros(*ids.shape, face_features.shape[3]), ids


def _one_picture(height, width, depths, places, valid, eps, multiplier):
    column, row = torch.arange(width), torch.arange(height)
    x = multiplier / width * (2 * column + 1 - width)[None, :, None].expand(height, width, 1)
    y = multiplier / height * (height - 2 * row - 1)[:, None, None].expand(height, width, 1)
    scaled = places * multiplier
    low, high = scaled.amin(1), scaled.amax(1)
    weights = _weights(scaled, x, y, eps)
    z = (weights * depths.T[:, None, None]).sum(0)
    hit = (weights >= 0).all(0) & valid
    hit &= (x >= low[:, 0]) & (x < high[:, 0]) & (y >= low[:, 1]) & (y < high[:, 1])
    nearest = torch.where(hit, z, -torch.inf).max(2)
    return torch.where(nearest.values > -torch.inf, nearest.indices, -1)


def _weights(places, x, y, eps):
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(-1) for corner in places.unbind(-2))
    ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y
    edges = torch.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx])
    total = edges.sum(0)
    return edges / (total + torch.copysign(torch.tensor(eps, dtype=total.dtype), total))
