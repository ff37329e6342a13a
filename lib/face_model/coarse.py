"""A face model over a subset of its vertices, for small images.

Methods that explain pixels render thousands of images of 40 to 150 pixels per side, in which most of 100,000 triangles
are smaller than a pixel. About a quarter of the vertices is kept, no two of them neighbours. Each other vertex belongs
to the nearest kept one along the surface; where three such regions meet, there is a triangle (the dual of a
Voronoi diagram on the mesh). Lips and lids, which touch without being joined, stay separate.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from lib.face_model.file import FaceModelFile, landmark_vertices, read_face_model
from lib.face_model.model import FaceModel


def load_coarse_model(path, shape_dimension, texture_dimension, expression_dimension):
    """Read a face model over about a quarter of its vertices; arguments and errors as `FaceModel.load`."""
    data = read_face_model(path, shape_dimension, texture_dimension, expression_dimension)
    return FaceModel(coarsened(data, path), path)


def coarsened(data, source="the face model"):
    """Keep some of a model's vertices, its landmarks among them."""
    mean, triangles = data.shape.mean.reshape(-1, 3), data.cells.T.astype(np.int64)
    graph = _edges(mean, triangles)
    kept = _spread(graph, sorted(set(landmark_vertices(source, data.landmarks, mean).values())))
    _, _, owner = dijkstra(graph, directed=False, indices=kept, min_only=True, return_predecessors=True)
    place = np.zeros(len(mean), np.int64)
    place[kept] = np.arange(len(kept))
    corners = place[owner[triangles]]
    apart = (corners != np.roll(corners, 1, 1)).all(1)
    # each triangle begins with its smallest corner, so that two of the same are found; the sense of turning stays
    turned = (corners[apart].argmin(1)[:, None] + np.arange(3)) % 3
    cells = np.unique(np.take_along_axis(corners[apart], turned, 1), axis=0).T.astype(data.cells.dtype)

    models = (model.take(kept) for model in (data.shape, data.color, data.expression))
    return FaceModelFile(*models, cells, data.points[:, kept], data.landmarks)


def _edges(vertices, triangles):
    """Lengths of a mesh's edges: sparse, symmetric (N, N)."""
    ends = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    pairs = np.unique(np.concatenate([ends, ends[:, ::-1]]), axis=0).T
    lengths = np.linalg.norm(vertices[pairs[0]] - vertices[pairs[1]], axis=1)
    return coo_array((lengths, pairs), shape=(len(vertices), len(vertices))).tocsr()


def _spread(graph, first):
    """Choose vertices, `first` and then the others in their order, none of which is a neighbour of one before it."""
    free, chosen = np.ones(graph.shape[0], bool), list(first)
    free[[*first, *graph[first].indices]] = False
    for vertex in range(graph.shape[0]):
        if free[vertex]:
            chosen.append(vertex)
            free[graph.indices[graph.indptr[vertex] : graph.indptr[vertex + 1]]] = False
    return np.sort(chosen)
