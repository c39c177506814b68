import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.registry import LOSSES
from tests.no_sync import NoSync


def build(**args: float) -> nn.Module:
    return LOSSES.build(dict(type='AssociativeEmbeddingLoss', **args))


def scene(B: int = 3, N: int = 4, K: int = 3, *, tag_dim: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return tags, indices and weights with people, keypoints and whole images that are not labelled."""
    tags = torch.randn(B, tag_dim * K, 5, 6, dtype=torch.float64).requires_grad_()
    weights = (torch.rand(B, N, K) > 0.4).double()
    weights[0, 1:2], weights[1, 1:], weights[2] = 0, 0, 0
    weights[0, 0], weights[1, 0] = 1, 1
    return tags, torch.randint(30, (B, N, K)), weights


def slow_loss(tags: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return pull and push, person by person."""
    pulls, pushes = [], []
    K = indices.shape[2]
    for image, cells, labelled in zip(tags, indices, weights):
        people = []
        for n in range(len(cells)):
            person = [image[k::K].reshape(-1, 30)[:, cells[n, k]] for k in range(K) if labelled[n, k]]
            if person:
                people.append(np.stack(person))
        means = [person.mean(axis=0) for person in people]
        spreads = [np.mean([((tag - mean) ** 2).sum() for tag in person]) for person, mean in zip(people, means)]
        pairs = [math.exp(-((a - b) ** 2).sum()) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
        pulls.append(np.mean(spreads) if spreads else 0.0)
        pushes.append(0.5 * np.mean(pairs) if pairs else 0.0)
    return float(np.mean(pulls)), float(np.mean(pushes))


@pytest.mark.parametrize('tag_dim', [1, 2])
def test_values_are_those_of_a_slow_loop(tag_dim: int) -> None:
    tags, indices, weights = scene(tag_dim=tag_dim)
    pull, push = build()(tags, indices, weights)
    slow_pull, slow_push = slow_loss(tags.detach().numpy(), indices.numpy(), weights.numpy())
    assert pull.item() == pytest.approx(slow_pull)
    assert push.item() == pytest.approx(slow_push)
    assert pull > 0
    assert push > 0


def test_two_people_by_hand() -> None:
    tags = torch.tensor([[[[1.0, 3.0, 4.0, 9.0]], [[3.0, 5.0, 9.0, 9.0]]]])  # two keypoints, four cells
    indices, weights = torch.tensor([[[0, 0], [2, 1]]]), torch.ones(1, 2, 2)
    pull, push = build(loss_weight=2.0, push_factor=0.25)(tags, indices, weights)
    assert pull.item() == pytest.approx(2 * ((1 + 1) / 2 + (0.25 + 0.25) / 2) / 2)  # means 2 and 4.5
    assert push.item() == pytest.approx(2 * 0.25 * math.exp(-(2.5**2)))


def test_right_tags_cost_nothing() -> None:
    tags = torch.zeros(1, 3, 5, 6)
    indices = torch.arange(6).view(1, 2, 3)
    tags.view(3, 30)[:, 3:6] = 10
    pull, push = build()(tags, indices, torch.ones(1, 2, 3))
    assert pull.item() == 0
    assert push.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('tag_dim', [1, 2])
def test_gradients(tag_dim: int) -> None:
    tags, indices, weights = scene(tag_dim=tag_dim)
    for part in (0, 1):
        assert torch.autograd.gradcheck(lambda t, part=part: build()(t, indices, weights)[part], tags, fast_mode=True)


def test_without_people_it_is_zero_with_gradient() -> None:
    tags, indices, weights = scene()
    for n in (4, 0):
        tags.grad = None
        pull, push = build()(tags, indices[:, :n], 0 * weights[:, :n])
        (pull + push).backward()
        assert pull.item() == push.item() == 0
        assert tags.grad.shape == tags.shape
        assert not tags.grad.any()


def test_one_person_has_nobody_to_be_pushed_from() -> None:
    tags, indices, weights = scene(N=1)
    pull, push = build()(tags, indices, weights)
    assert pull.item() > 0
    assert push.item() == 0


def test_orders_change_nothing() -> None:
    tags, indices, weights = scene()
    images, people = torch.randperm(3), torch.randperm(4)
    expected = build()(tags, indices, weights)
    torch.testing.assert_close(build()(tags[images], indices[images], weights[images]), expected)
    torch.testing.assert_close(build()(tags, indices[:, people], weights[:, people]), expected)


def test_padding_with_nobody_changes_nothing() -> None:
    tags, indices, weights = scene()
    padded = [torch.cat((t, torch.zeros_like(t[:, :2])), dim=1) for t in (indices, weights)]
    torch.testing.assert_close(build()(tags, *padded), build()(tags, indices, weights))


def test_nonfinite_tags_are_not_hidden() -> None:
    tags, indices, weights = scene()
    assert not torch.isfinite(build()(tags * math.inf, indices, weights)[0])


def test_it_reads_no_value_on_the_host() -> None:
    tags, indices, weights = scene()
    with NoSync():
        sum(build()(tags, indices, weights)).backward()


def test_wrong_calls() -> None:
    tags, indices, weights = scene()
    for wrong in ((tags[:, 1:], indices, weights), (tags[1:], indices, weights), (tags, indices, weights[:, 1:])):
        with pytest.raises(
            ValueError, match=r'AssociativeEmbeddingLoss: `tags` must be \(B, L \* K, H, W\), `indices` and .*, got '
        ):
            build()(*wrong)
