"""What a regressor reads of a face: the training network's features, alone or with more beside them.

The paper's regressor reads the average pool of the network that the identity loss is taken under (3.1); a second
network's descriptor and the colours of the crop tell more of shape and of the skin (docs/training.md).
"""

import torch

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.params import MIRRORED
from lib.core.pictures import to_tensor
from lib.core.tensors import MappedRows
from lib.recognition.network import Identity, load_network
from lib.rendering.renderer import render_meshes

COLOUR_REGIONS = (
    (-0.74, 0.36, -0.32, 0.86),
    (0.32, 0.36, 0.74, 0.86),
    (-0.38, -0.54, 0.38, -0.2),
    (-0.13, 0.33, 0.13, 0.71),
)
"""Cheeks, forehead and nose: left, top, right, bottom from the middle between the eyes, in distances of the eyes."""
COLOURS = 3 * len(COLOUR_REGIONS)
BATCH = 256


class FeatureReader:
    """What a regressor reads of renders and of photographs: F `feature_dimension` features.

    With the `second` network, F is larger by that one's descriptor and by `COLOURS`, and a photograph's features are
    the mean of those of the photograph and of its mirror image, which shows the same person under other light and pose.
    `framings` are the crops that `of_crops` must be given, by network; `fingerprints` are the networks'.
    """

    def __init__(self, network, second=None):
        self.network, self.second = network, second
        self.feature_dimension = network.feature_dimension
        self.framings = {network.name: network.crop}
        self.fingerprints = [one.fingerprint for one in (network, second) if one]
        if second:
            self.feature_dimension += second.embedding_dimension + COLOURS
            self.framings |= {second.name: second.crop}

    def see_renders(self, face_model, faces, scene, draw=None, precision="float32"):
        """Render faces in scenes, as `lib.rendering.renderer.render`, and read the S renders as `see_meshes` does."""
        meshes = face_model.vertices(faces.shape), face_model.albedo(faces.texture)
        return self.see_meshes(face_model, meshes, scene, draw, precision)

    def see_meshes(self, face_model, meshes, scene, draw=None, precision="float32"):
        """Render faces, vertices and albedo (B, N, 3) of the face model's mesh, and read the S renders: an `Identity`.

        `draw` is an `AugmentationDraw` or None, `precision` "float32" or "bfloat16" of the training network, through
        which alone the gradient reaches the faces.
        """
        images = _picture(face_model, meshes, scene, self.network.crop, draw)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            seen = self.network(images)
        if not self.second:
            return seen
        with torch.no_grad():
            descriptor = self.second.descriptor(self._second_picture(face_model, meshes, scene, draw))[1]
            more = torch.cat([descriptor, crop_colours(images, self.network.crop)], 1)
        return Identity(torch.cat([seen.features, more], 1), seen.embedding)

    def see_with_second(self, face_model, faces, scene, draw=None):
        """Render as `see_renders` does: the second network's embeddings (S, E), with their gradient, in float32."""
        meshes = face_model.vertices(faces.shape), face_model.albedo(faces.texture)
        return self.second(self._second_picture(face_model, meshes, scene, draw)).embedding

    def _second_picture(self, face_model, meshes, scene, draw):
        crop = self.second.crop
        draw = draw.at_scale(_eye_distance(crop) / _eye_distance(self.network.crop)) if draw else None
        return _picture(face_model, meshes, scene, crop, draw)

    @torch.inference_mode()
    def of_crops(self, pictures):
        """Read photographs, uint8 (B, H, W, 3) by network in the `framings`: features (B, F) on the CPU."""
        images = [to_tensor(pictures[name]).to(self.network.centre.device) for name in self.framings]
        if not self.second:
            return self.network(images[0]).features.cpu()
        seen = []
        for first, second in (images, [image.flip(3) for image in images]):
            parts = self.network(first).features, self.second.descriptor(second)[1]
            seen.append(torch.cat([*parts, crop_colours(first, self.network.crop)], 1))
        return torch.stack(seen).mean(0).cpu()

    def of_store(self, store, rows):
        """Read rows of the `FeatureStore`: features (N, F) of the photographs, and of their mirror images or None."""
        if not self.second:
            return MappedRows(store.features[self.network.name], rows), None
        parts = (store.crops[rows[start : start + BATCH]] for start in range(0, len(rows), BATCH))
        colours = torch.cat([crop_colours(to_tensor(part), self.network.crop) for part in parts]).unflatten(1, (-1, 3))
        both = []
        for suffix, order in (("", [0, 1, 2, 3]), (MIRRORED, [1, 0, 2, 3])):
            features = store.features[self.network.name + suffix][rows]
            descriptors = store.descriptors[self.second.name + suffix][rows]
            parts = torch.from_numpy(features), torch.from_numpy(descriptors), colours[:, order].flatten(1)
            both.append(torch.cat(parts, 1))
        return tuple(both)

    def mean_of_store(self, store, rows):
        """Read rows of the `FeatureStore` as `of_crops` reads photographs: features (N, F)."""
        features, mirrored = self.of_store(store, rows)
        return features[:] if mirrored is None else (features + mirrored) / 2


def load_reader(names, feature_dimension=None):
    """Load the `NetworksParams` that give `feature_dimension` features (None: training alone), or StudyError."""
    reader = FeatureReader(load_network(names.training, paths.NETWORKS))
    if feature_dimension in (None, reader.feature_dimension):
        return reader
    wide = FeatureReader(reader.network, load_network(names.second, paths.NETWORKS))
    if feature_dimension != wide.feature_dimension:
        raise StudyError(
            f"the regressor reads {feature_dimension} features, {names.training} gives {reader.feature_dimension} and, "
            f"with {names.second}, {wide.feature_dimension}: it was trained with other networks (see params.yaml)"
        )
    return wide


def crop_colours(images, crop):
    """Take the median colour of each of `COLOUR_REGIONS`: images (B, 3, S, S) -> (B, 12)."""
    right, left, *_ = crop.points
    middle, unit = ((right[0] + left[0]) / 2, (right[1] + left[1]) / 2), left[0] - right[0]
    colours = []
    for edges in COLOUR_REGIONS:
        places = (middle[axis % 2] + edge * unit for axis, edge in enumerate(edges))
        x0, y0, x1, y1 = (round(crop.size * min(max(place, 0.0), 1.0)) for place in places)
        colours.append(images[:, :, y0:y1, x0:x1].flatten(2).median(2).values)
    return torch.cat(colours, 1)


def _picture(face_model, meshes, scene, crop, draw):
    images = render_meshes(*meshes, face_model.triangles, face_model.alignment_vertices, scene, crop)
    return draw.apply(images) if draw else images


def _eye_distance(crop):
    """Pixels between the eyes."""
    return crop.size * (crop.points[1][0] - crop.points[0][0])
