"""Every loss against a value computed by hand, and its gradient against finite differences."""

import pytest
import torch
from torch.autograd import gradcheck

from lib.face_model.model import Coefficients
from lib.training.losses import (
    batch_distribution_loss,
    bounded_distribution_loss,
    effective_rank,
    identity_loss,
    loopback_loss,
    metric_loss,
    moments_of,
    parameter_loss,
    skin_loss,
    total_loss,
)


def faces(shape, texture):
    return Coefficients(torch.tensor(shape), torch.tensor(texture))


def random_faces(count, generator, dtype=torch.float64):
    values = [torch.randn(count, 3, generator=generator, dtype=dtype, requires_grad=True) for _ in range(2)]
    return Coefficients(*values)


def test_parameter_loss_by_hand():
    predicted = faces([[1.0, 2.0], [0.0, 0.0]], [[3.0], [1.0]])
    true = faces([[0.0, 0.0], [0.0, 1.0]], [[1.0], [1.0]])
    # shape: (1 + 4) and 1, mean 3; texture: 4 and 0, mean 2
    assert parameter_loss(predicted, true, 0.4, 0.002).item() == pytest.approx(0.4 * 3 + 0.002 * 2)


def test_parameter_loss_does_not_grow_with_the_batch(generator):
    a, b = random_faces(4, generator), random_faces(4, generator)
    twice = [Coefficients(c.shape.repeat(2, 1), c.texture.repeat(2, 1)) for c in (a, b)]
    assert torch.allclose(parameter_loss(a, b, 0.4, 0.002), parameter_loss(*twice, 0.4, 0.002))


def test_identity_loss_by_hand():
    photographed = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # two views: cosines 1 and 0.6, then 0 and -1
    rendered = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, -1.0]])
    assert identity_loss(rendered, photographed).item() == pytest.approx(1 - (1 + 0.6 + 0 - 1) / 4)


def test_identity_loss_is_zero_for_equal_and_two_for_opposite():
    unit = torch.nn.functional.normalize(torch.arange(6.0).view(2, 3) + 1, dim=1)
    assert identity_loss(unit.repeat(3, 1), unit).item() == pytest.approx(0, abs=1e-6)
    assert identity_loss(-unit, unit).item() == pytest.approx(2)


def test_batch_distribution_loss_by_hand():
    # shape: means 1 and 0, unbiased variances 2 and 0; texture: mean 3, variance 8
    coefficients = faces([[0.0, 0.0], [2.0, 0.0]], [[1.0], [5.0]])
    expected = (1 + 0) + ((2 - 1) ** 2 + (0 - 1) ** 2) + 9 + (8 - 1) ** 2
    assert batch_distribution_loss(coefficients).item() == pytest.approx(expected)


def test_batch_distribution_variance_is_unbiased(generator):
    small = torch.stack([torch.randn(4, 1, generator=generator).var(0, correction=1) for _ in range(20_000)])
    assert small.mean().item() == pytest.approx(1, abs=0.02)
    standard = Coefficients(*(torch.randn(20_000, 5, generator=generator) for _ in range(2)))
    assert batch_distribution_loss(standard).item() < 0.01


def test_loopback_loss_compares_every_view_with_its_face():
    predicted = faces([[1.0], [2.0]], [[0.0], [0.0]])
    reread = faces([[1.0], [2.0], [4.0], [2.0]], [[0.0], [0.0], [0.0], [2.0]])
    # only view 1 differs: shape of face 0 by 3, texture of face 1 by 2; means over four pictures
    assert loopback_loss(reread, predicted, 0.4, 0.002).item() == pytest.approx(0.4 * 9 / 4 + 0.002 * 4 / 4)


def test_loopback_gradient_flows_on_both_ways(generator):
    predicted, reread = random_faces(2, generator), random_faces(6, generator)
    loopback_loss(reread, predicted, 0.4, 0.002).backward()
    for part in (predicted.shape, predicted.texture, reread.shape, reread.texture):
        assert part.grad.abs().max() > 0


def test_total_loss_is_equation_2():
    terms = dict(parameter=3.0, identity=0.5, batch=0.2, loop=40.0)
    assert total_loss(terms, dict(identity=1.0, batch=10.0, loop=0.07)) == pytest.approx(3 + 0.5 + 10 * 0.2 + 0.07 * 40)


@pytest.mark.parametrize("loss", ["parameter", "identity", "batch", "loop"])
def test_gradients_agree_with_finite_differences(loss, generator):
    a, b = random_faces(2, generator), random_faces(4, generator)

    def evaluate(shape, texture, other_shape, other_texture):
        predicted, other = Coefficients(shape, texture), Coefficients(other_shape, other_texture)
        if loss == "parameter":
            return parameter_loss(predicted, other[:2], 0.4, 0.002)
        if loss == "identity":
            return identity_loss(other_shape, shape)
        if loss == "batch":
            return batch_distribution_loss(other)
        return loopback_loss(other, predicted, 0.4, 0.002)

    assert gradcheck(evaluate, (a.shape, a.texture, b.shape, b.texture))


def test_metric_loss_by_hand(generator):
    predicted, true = faces([[1.0, 2.0], [0.0, 1.0]], [[0.0], [0.0]]), faces([[0.0, 0.0], [0.0, 0.0]], [[9.0], [9.0]])
    # (1 + 2 * 2 + 3 * 4) and 3, mean 10
    assert metric_loss(predicted, true, torch.tensor([[1.0, 1.0], [1.0, 3.0]])).item() == pytest.approx(10)


def test_skin_loss_by_hand():
    predicted = faces([[0.0], [0.0]], [[1.0, 1.0], [0.0, 2.0]])
    colour, skin = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0], [0.0, 4.0, 1.0]])
    # the colours are (1, 2, 2) and (0, 4, 2)
    assert skin_loss(predicted, skin, colour).item() == pytest.approx((4 + 1) / 2)


def test_bounded_loss_by_hand():
    texture = [[2.0, 0.0], [0.0, 1.0], [-2.0, 0.0], [0.0, -1.0]]
    # halves have opposite means (1, 1/2); eigenvalues of the covariance are 8/3 and 2/3, of which one is above 1
    expected = -(1 + 0.25) + (8 / 3 - 1) ** 2
    still = torch.zeros(4, 2)
    assert bounded_distribution_loss(Coefficients(still, torch.tensor(texture)), 1.0).item() == pytest.approx(expected)
    turned = torch.tensor(texture) @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    assert bounded_distribution_loss(Coefficients(still, turned), 1.0).item() == pytest.approx(expected, rel=1e-5)
    shape = torch.tensor([[1.0], [1.0], [1.0], [3.0]])
    assert bounded_distribution_loss(Coefficients(shape, still), 1.0).item() == pytest.approx(1 * 2)


def test_the_batch_size_does_not_bias_the_bounded_loss(generator):
    values = [bounded_distribution_loss(random_faces(8, generator), 100.0).item() for _ in range(2000)]
    assert sum(values) / len(values) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("loss", ["metric", "bounded", "skin"])
def test_gradients_of_the_further_losses(generator, loss):
    a, b = random_faces(6, generator), random_faces(6, generator)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)

    def evaluate(shape, texture):
        one = Coefficients(shape, texture)
        if loss == "skin":
            return skin_loss(one, b.shape, root)
        return metric_loss(one, b, root @ root.T) if loss == "metric" else bounded_distribution_loss(one, 0.3)

    assert gradcheck(evaluate, (a.shape, a.texture))


def test_effective_rank_counts_directions():
    corners = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert effective_rank(corners) == pytest.approx(2)
    assert effective_rank(corners @ torch.tensor([[1.0, 1, 1], [0, 0, 0], [0, 0, 0]])) == pytest.approx(1)
    assert effective_rank(torch.zeros(4, 3)) == 0


def test_moments_of_a_known_population():
    result = moments_of(faces([[1.0, 0.0], [3.0, 0.0]], [[0.0], [2.0]]))
    assert result["shape_mean_rms"] == pytest.approx((4 / 2) ** 0.5)
    assert result["shape_variance"] == pytest.approx((2 + 0) / 2)
    assert result["shape_mean_square"] == pytest.approx((1 + 9) / 4)
    assert result["texture_mean_rms"] == pytest.approx(1)
