"""FaceNet's successor of the facenet-pytorch package: InceptionResnetV1 trained on VGGFace2."""

import torch
from torch import nn

CLASSIFIER_PREFIX = "logits."


class FaceNetNetwork(nn.Module):
    """InceptionResnetV1 without its classifier."""

    feature_dimension = 1792
    descriptor_dimension = 512

    def __init__(self):
        super().__init__()
        # the package takes seconds to import, which the stages that use another network need not wait for
        from facenet_pytorch import InceptionResnetV1

        self.inception = InceptionResnetV1(pretrained=None, classify=False)

    def forward(self, images):
        """Map images (B, 3, 160, 160), sRGB in [0, 1], to pooled features (B, 1792) and raw descriptors (B, 512)."""
        layers = self.inception
        maps = (images * 255 - 127.5) / 128
        for name in (
            *("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a", "conv2d_4b"),
            *("repeat_1", "mixed_6a", "repeat_2", "mixed_7a", "repeat_3", "block8", "avgpool_1a"),
        ):
            maps = getattr(layers, name)(maps)
        features = maps.flatten(1)
        return features, self.head(features)

    def head(self, features):
        """Map pooled features to raw descriptors."""
        return self.inception.last_bn(self.inception.last_linear(features))


def convert_facenet_weights(path):
    """Turn facenet-pytorch's published weights into the state of `FaceNetNetwork`."""
    weights = torch.load(path, map_location="cpu", weights_only=True)
    names = [name for name in weights if not name.startswith(CLASSIFIER_PREFIX)]
    return {f"inception.{name}": weights[name].contiguous() for name in names}
