"""`kaolin.render.mesh.rasterize` in plain torch, slow, for tests where there is no GPU; follows Kaolin 0.18's rules."""

import torch


def rasterize(
    height, width, face_vertices_z, face_vertices_image, face_features, valid_faces=None, multiplier=None, eps=None,
    backend="cuda",
):  # fmt: skip
    """Blend the features of the valid face with the largest z at each pixel, affinely; see Kaolin's documentation.

    Both windings are drawn; the first of several equally near faces wins; the bounding box excludes its upper ends.
    """
    assert face_vertices_z.shape == face_vertices_image.shape[:3] == face_features.shape[:3]
    assert backend in ("cuda", "nvdiffrast")
    assert not face_vertices_z.requires_grad, "Kaolin would silently drop this gradient"
    pictures = [
        _one_picture(height, width, *tensors, 1e-8 if eps is None else eps, 1000 if multiplier is None else multiplier)
        for tensors in zip(face_vertices_z, face_vertices_image, face_features, valid_faces, strict=True)
    ]
    return torch.stack([image for image, _ in pictures]), torch.stack([ids for _, ids in pictures])


def _one_picture(height, width, depths, places, features, valid, eps, multiplier):
    column, row = torch.arange(width), torch.arange(height)
    x = multiplier / width * (2 * column + 1 - width)[None, :, None].expand(height, width, 1)
    y = multiplier / height * (height - 2 * row - 1)[:, None, None].expand(height, width, 1)
    with torch.no_grad():
        scaled = places * multiplier
        low, high = scaled.amin(1), scaled.amax(1)
        weights = _weights(scaled, x, y, eps)
        z = (weights * depths.T[:, None, None]).sum(0)
        hit = (weights >= 0).all(0) & valid
        hit &= (x >= low[:, 0]) & (x < high[:, 0]) & (y >= low[:, 1]) & (y < high[:, 1])
        nearest = torch.where(hit, z, -torch.inf).max(2)
        ids = torch.where(nearest.values > -torch.inf, nearest.indices, -1)
    chosen = ids.clamp(min=0)
    weights = _weights(places[chosen], x[..., 0] / multiplier, y[..., 0] / multiplier, eps)
    image = (weights[..., None] * features[chosen].movedim(2, 0)).sum(0)
    return torch.where((ids >= 0)[..., None], image, 0.0), ids


def _weights(places, x, y, eps):
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(-1) for corner in places.unbind(-2))
    ax, bx, cx, ay, by, cy = ax - x, bx - x, cx - x, ay - y, by - y, cy - y
    edges = torch.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx])
    total = edges.sum(0)
    return edges / (total + torch.copysign(torch.tensor(eps, dtype=total.dtype), total))
