"""Dice, Tversky, Lovasz and OHEM losses; the pixels of maps under cross entropy and focal loss are among them."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.registry import LOSSES
from tests.no_sync import NoSync
from tests.parity import functions

IGNORED = 255
REGION_LOSSES = ['DiceLoss', 'GeneralizedDiceLoss', 'TverskyLoss', 'FocalTverskyLoss']
ALL = [*REGION_LOSSES, 'LovaszLoss', 'CrossEntropyLoss', 'OhemCrossEntropy', 'FocalLoss']
WEIGHTS = (0.5, 0.0, 2.0, 1.0)
PIXEL_LOSSES = {
    'softmax': dict(type='CrossEntropyLoss'),
    'softmax, weighted': dict(type='CrossEntropyLoss', class_weight=WEIGHTS),
    'softmax, over weights': dict(type='CrossEntropyLoss', class_weight=WEIGHTS, avg_class_weight=True),
    'sigmoid': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'sigmoid, weighted': dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=WEIGHTS),
    'focal': dict(type='FocalLoss', gamma=2.0, alpha=0.25),
    'focal, weighted': dict(type='FocalLoss', gamma=2.0, alpha=0.25, class_weight=WEIGHTS),
}


def build(name: str, **args: object) -> nn.Module:
    """Return a loss that leaves ignored pixels out altogether."""
    if name not in ('LovaszLoss', 'OhemCrossEntropy'):
        args.setdefault('avg_non_ignore', True)
    if name == 'DiceLoss':
        args.setdefault('use_sigmoid', False)
    if name == 'OhemCrossEntropy':
        args.setdefault('min_kept', 5)
    return LOSSES.build(dict(type=name, ignore_index=IGNORED, **args))


def maps(B: int = 2, C: int = 4, H: int = 5, W: int = 3, *, ignored: int = 4) -> tuple[Tensor, Tensor]:
    """Return logits (B, C, H, W) in float64 and labels (B, H, W) as the workers send them, some ignored in every image."""
    logits = torch.randn(B, C, H, W, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, max(C, 2), (B, H * W), dtype=torch.uint8)
    labels[:, :ignored] = IGNORED
    return logits, labels.view(B, H, W)


def softmax(logits: Tensor) -> np.ndarray:
    scores = np.exp(logits.detach().numpy())
    return scores / scores.sum(axis=1, keepdims=True)


def counts(probs: np.ndarray, labels: np.ndarray, k: int, *, groups: list[list[int]]) -> list[tuple[float, float, float]]:
    """Return (TP, FP, FN) of class k in each group of images, pixel by pixel."""
    found = []
    for group in groups:
        tp = fp = fn = 0.0
        for b, (y, x) in itertools.product(group, np.ndindex(labels.shape[1:])):
            if labels[b, y, x] != IGNORED:
                p, t = probs[b, k, y, x], float(labels[b, y, x] == k)
                tp, fp, fn = tp + p * t, fp + p * (1 - t), fn + (1 - p) * t
        found.append((tp, fp, fn))
    return found


@pytest.mark.parametrize(
    ('key', 'cfg'),
    [
        ('cross_entropy', dict(type='CrossEntropyLoss', ignore_index=IGNORED)),
        ('dice', dict(type='DiceLoss', use_sigmoid=False)),
        ('tversky', dict(type='TverskyLoss')),
        ('lovasz', dict(type='LovaszLoss')),
    ],
)
def test_values_are_the_reference(shared: Path, key: str, cfg: dict) -> None:
    stored = functions(shared)
    logits, labels = (torch.from_numpy(stored[f'loss.seg.{name}']) for name in ('logits', 'label'))
    assert IGNORED in labels
    assert LOSSES.build(cfg)(logits, labels).item() == pytest.approx(float(stored[f'loss.seg.{key}']), rel=1e-6)


@pytest.mark.parametrize('per_image', [True, False])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('name', REGION_LOSSES)
def test_region_losses_against_a_loop(name: str, weighted: bool, per_image: bool) -> None:
    logits, labels = maps()
    weights = [0.5, 0.0, 2.0, 1.0] if weighted else None
    args = dict(per_class=True) if name == 'DiceLoss' else {}
    value = build(name, class_weight=weights, per_image=per_image, **args)(logits, labels).item()
    probs, truth, groups = softmax(logits), labels.numpy(), [[0], [1]] if per_image else [[0, 1]]
    by_class = [counts(probs, truth, k, groups=groups) for k in range(4)]
    weights = weights or [1.0] * 4
    if name == 'GeneralizedDiceLoss':
        total = 0.0
        for group in range(len(groups)):
            tps, fps, fns = zip(*(found[group] for found in by_class))
            volumes = [tp + fn for tp, fn in zip(tps, fns)]
            assert min(volumes) > 0, 'the weight of an absent class is tested elsewhere'
            w = [c / v**2 for c, v in zip(weights, volumes)]
            total += 1 - 2 * np.dot(w, tps) / np.dot(w, [2 * tp + fp + fn for tp, fp, fn in zip(tps, fps, fns)])
        assert value == pytest.approx(total / len(groups), rel=1e-4)  # eps
        return
    total = 0.0
    for k, found in enumerate(by_class):
        for b, (tp, fp, fn) in enumerate(found):
            if name == 'DiceLoss':
                squares = sum(
                    probs[i, k, y, x] ** 2
                    for i, (y, x) in itertools.product(groups[b], np.ndindex(truth.shape[1:]))
                    if truth[i, y, x] != IGNORED
                )
                loss = 1 - 2 * tp / (squares + tp + fn + 2e-3)
            else:
                loss = 1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1)
                loss = loss if name == 'TverskyLoss' else loss**0.75
            total += weights[k] * loss
    assert value == pytest.approx(total / 4 / len(groups), rel=1e-9)


@pytest.mark.parametrize('per_image', [True, False])
def test_dice_of_all_classes_together(per_image: bool) -> None:
    logits, labels = maps(ignored=0)
    probs, truth = softmax(logits), np.eye(4)[labels.numpy()].transpose(0, 3, 1, 2)
    groups = [slice(0, 1), slice(1, 2)] if per_image else [slice(None)]
    naive = [1 - (2 * (probs[g] * truth[g]).sum() + 1e-3) / ((probs[g] + truth[g]).sum() + 1e-3) for g in groups]
    assert build('DiceLoss', naive_dice=True, per_image=per_image)(logits, labels).item() == pytest.approx(np.mean(naive))


def jaccard_loss(mistaken: set[int], truth: set[int]) -> float:
    """Return 1 - IoU of the prediction that is wrong in `mistaken` and right elsewhere."""
    return len(mistaken) / len(truth | mistaken)


def lovasz_by_sets(errors: np.ndarray, truth: np.ndarray) -> float:
    """Return the Lovasz extension as the integral over thresholds of the loss of the set of pixels with an error above it."""
    members = set(np.flatnonzero(truth).tolist())
    total, thresholds = 0.0, [0.0, *sorted(e for e in errors if e > 0)]
    for low, high in itertools.pairwise(thresholds):
        total += (high - low) * jaccard_loss({i for i, e in enumerate(errors) if e > low}, members)
    return total


@pytest.mark.parametrize('classes', ['present', 'all', [1, 3]])
@pytest.mark.parametrize('per_image', [True, False])
def test_lovasz_against_sets(classes: str | list[int], per_image: bool) -> None:
    logits, labels = maps()
    labels[0][labels[0] == 3] = 1  # class 3 is absent in one image
    weight = [1.0, 2.0, 0.5, 1.5]
    probs, truth = softmax(logits), labels.numpy()
    means = []
    for group in [[0], [1]] if per_image else [[0, 1]]:
        counted = truth[group] != IGNORED
        losses = []
        for k in range(4):
            member = truth[group][counted] == k
            if (classes == 'present' and not member.any()) or (isinstance(classes, list) and k not in classes):
                continue
            losses.append(weight[k] * lovasz_by_sets(np.abs(member - probs[group, k][counted]), member))
        means.append(np.mean(losses))
    loss = build('LovaszLoss', classes=classes, per_image=per_image, class_weight=weight)
    assert loss(logits, labels).item() == pytest.approx(np.mean(means))


def test_every_pixel_of_a_large_image_counts() -> None:
    """Of half a million pixels each moves the IoU by 1e-9 to 1e-6, which float32 does not see beside 1."""
    logits = torch.randn(1, 2, 512, 1024, requires_grad=True)
    labels = torch.zeros(1, 512, 1024, dtype=torch.uint8)
    labels[0, 100:110, 100:200] = 1
    loss = build('LovaszLoss', classes=[1])
    (single,) = torch.autograd.grad(loss(logits, labels), logits)
    double = logits.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(loss(double, labels), double)
    assert (expected == 0).double().mean() < 0.01
    assert (single == 0).double().mean() < 0.01
    assert (single - expected).norm() < 1e-3 * expected.norm()


def test_lovasz_hinge_against_sets() -> None:
    logits, labels = maps(C=1)
    counted = labels.numpy() != IGNORED
    truth = labels.numpy()[counted] == 1
    errors = 1 - logits.detach().numpy()[:, 0][counted] * (2 * truth - 1)
    assert (errors < 0).any(), 'a pixel that is right by a margin'
    loss = build('LovaszLoss', loss_type='binary')
    expected = pytest.approx(lovasz_by_sets(errors, truth))
    assert loss(logits, labels).item() == loss(logits[:, 0], labels).item() == loss(logits, labels[:, None]).item() == expected


def of_pixel(form: str, logits: np.ndarray, label: int) -> list[tuple[float, float]]:
    """Return a loss and its share of the divisor for a pixel with the logits (C,), or for each of its classes."""
    weights = WEIGHTS if 'weight' in form else (1.0,) * 4
    if form.startswith('softmax'):
        p = math.exp(logits[label]) / sum(math.exp(x) for x in logits)
        return [(-weights[label] * math.log(p), weights[label] if form == 'softmax, over weights' else 1.0)]
    found = []
    for k, x in enumerate(logits):
        p = 1 / (1 + math.exp(-x))
        if form.startswith('focal'):
            value = -0.25 * (1 - p) ** 2 * math.log(p) if k == label else -0.75 * p**2 * math.log(1 - p)
            found.append((weights[k] * value, 1.0))
        else:
            found.append((-weights[k] * math.log(p) if k == label else -math.log(1 - p), 1.0))
    return found


@pytest.mark.parametrize('avg_non_ignore', [True, False])
@pytest.mark.parametrize('form', PIXEL_LOSSES)
def test_pixel_losses_against_a_loop(form: str, avg_non_ignore: bool) -> None:
    logits, labels = maps(B=3)
    labels[1, 2:], labels[2] = IGNORED, IGNORED
    of_images = []
    for image, truth in zip(logits.detach().numpy(), labels.tolist()):
        total = divisor = 0.0
        for y, x in np.ndindex(5, 3):
            found = of_pixel(form, image[:, y, x], 0 if truth[y][x] == IGNORED else truth[y][x])
            counts = truth[y][x] != IGNORED
            total += sum(value for value, _ in found) * counts
            always = not avg_non_ignore and form != 'softmax, over weights'
            divisor += sum(share for _, share in found) * (counts or always)
        of_images.append((total, divisor))
    means = [total / divisor if divisor else 0.0 for total, divisor in of_images]
    assert means[0] != pytest.approx(means[1])
    totals, divisors = zip(*of_images)

    def value(**args: object) -> list[float]:
        cfg = dict(PIXEL_LOSSES[form], ignore_index=IGNORED, avg_non_ignore=avg_non_ignore, **args)
        return LOSSES.build(cfg).double()(logits, labels).tolist()

    assert value() == pytest.approx(sum(totals) / sum(divisors))
    assert value(per_image=True, reduction='none') == pytest.approx(means)
    assert value(per_image=True, reduction='sum') == pytest.approx(sum(means))
    assert value(per_image=True) == pytest.approx(sum(means) / 3)


@pytest.mark.parametrize(('thres', 'min_kept'), [(0.2, 1), (0.2, 9), (0.9, 1), (0.2, 10_000), (0.2, 22), (0.2, 21)])
def test_ohem_against_a_loop(thres: float, min_kept: int) -> None:
    logits, labels = maps()
    probs, truth = softmax(logits), labels.numpy()

    def mean_of_hardest(images: list[int]) -> float:
        places = [(b, *place) for b in images for place in np.ndindex(truth.shape[1:]) if truth[b][place] != IGNORED]
        right = sorted(probs[b, truth[b, y, x], y, x] for b, y, x in places)
        return np.mean([-math.log(p) for i, p in enumerate(right) if p < thres or i < min_kept])

    args = dict(thres=thres, min_kept=min_kept)
    assert build('OhemCrossEntropy', **args)(logits, labels).item() == pytest.approx(mean_of_hardest([0, 1]))
    by_image = build('OhemCrossEntropy', per_image=True, reduction='none', **args)(logits, labels)
    assert by_image.tolist() == pytest.approx([mean_of_hardest([0]), mean_of_hardest([1])])


def test_ohem_keeps_what_is_as_hard_as_the_hardest() -> None:
    """A network that knows nothing yet gives all pixels one probability; none would be left below the lowest."""
    loss = build('OhemCrossEntropy', thres=0.1, min_kept=2)
    assert loss(torch.zeros(1, 4, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8)).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize('C', [1, 4])
def test_tversky_of_one_half_is_dice(C: int) -> None:
    logits, labels = maps(C=C)
    tversky = build('TverskyLoss', alpha=0.5, beta=0.5, smooth=0.5)(logits, labels)
    dice = build('DiceLoss', naive_dice=True, per_class=True, eps=1.0)(logits, labels)
    torch.testing.assert_close(tversky, dice)


def test_tversky_of_ones_is_the_iou() -> None:
    labels = torch.tensor([[[1, 1, 1, 0, 0, 0]]])
    logits = torch.tensor([[[[9.0, 9.0, -9.0, 9.0, -9.0, -9.0]]]], dtype=torch.float64) * 10
    loss = build('TverskyLoss', alpha=1, beta=1, smooth=1e-6)(logits, labels)
    assert loss.item() == pytest.approx(1 - 2 / 4, abs=1e-5)  # 2 px in both, 4 px in either


def test_dice_of_hard_masks_is_f1() -> None:
    predicted, truth = torch.tensor([[1, 1, 0, 1, 0, 0, 1]]), torch.tensor([[1, 0, 0, 1, 1, 0, 1]])
    precision, recall = 3 / 4, 3 / 4
    loss = build('DiceLoss', activate=False, naive_dice=True, eps=1e-6)
    value = loss(predicted[None].double(), truth[None].double())
    assert value.item() == pytest.approx(1 - 2 * precision * recall / (precision + recall), abs=1e-6)
    squared = build('DiceLoss', activate=False, eps=1e-6)(predicted[None].double(), truth[None].double())
    assert squared.item() == pytest.approx(value.item(), abs=1e-5)  # 0 and 1 are their own squares


def test_ohem_of_one_channel_is_that_of_the_two_classes() -> None:
    logits, labels = maps(C=1)
    pair = torch.cat((torch.zeros_like(logits), logits), dim=1)
    for one, two in ((None, None), ([3.0], [1.0, 3.0])):
        value = build('OhemCrossEntropy', thres=0.4, class_weight=one)(logits, labels[:, None])
        torch.testing.assert_close(value, build('OhemCrossEntropy', thres=0.4, class_weight=two)(pair, labels))


def test_focal_tversky_of_gamma_1_is_tversky() -> None:
    logits, labels = maps()
    torch.testing.assert_close(build('FocalTverskyLoss', gamma=1)(logits, labels), build('TverskyLoss')(logits, labels))


def test_focal_of_gamma_0_is_half_of_binary_cross_entropy() -> None:
    logits, labels = maps()
    focal = build('FocalLoss', gamma=0, alpha=0.5)(logits, labels)
    torch.testing.assert_close(focal, build('CrossEntropyLoss', use_sigmoid=True)(logits, labels) / 2)


def test_ohem_that_keeps_all_is_cross_entropy() -> None:
    logits, labels = maps()
    ohem = build('OhemCrossEntropy', thres=1.0)(logits, labels)
    torch.testing.assert_close(ohem, build('CrossEntropyLoss')(logits, labels))


def test_generalized_dice_does_not_depend_on_the_size_of_a_class() -> None:
    """A class half of which is found costs the same with 4 px as with 40 px, beside a background of thousands."""
    values = []
    for size in (4, 40):
        labels = torch.zeros(1, 1, 10_000, dtype=torch.int64)
        labels[..., :size] = 1
        probs = nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).double()
        probs[:, :, :, : size // 2] = probs[:, :, :, : size // 2].flip(1)
        values.append(build('GeneralizedDiceLoss')(probs * 100, labels).item())
    assert values[0] == pytest.approx(values[1], abs=5e-3)
    assert values[0] == pytest.approx(1 / 3, abs=5e-3)  # 2 of 4 px found, none too many: 1 - 2 * 2 / (2 + 4)


def test_generalized_dice_of_an_absent_class_is_finite_and_punishes_it() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 0] = 1
    right = nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).double() * 20
    wrong = right.clone()
    wrong[0, 2, 3, 3] = 40
    loss = build('GeneralizedDiceLoss')
    assert loss(right, labels).item() < 1e-4
    assert 0.05 < loss(wrong, labels).item() < 1


@pytest.mark.parametrize('name', REGION_LOSSES)
def test_what_is_found_where_nothing_is_costs(name: str) -> None:
    """A single channel, and an image without its class: most images of a rare object."""
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    nothing, much = torch.full((1, 1, 4, 4), -40.0), torch.full((1, 1, 4, 4), 5.0)
    loss = build(name, use_sigmoid=True, **(dict(naive_dice=True) if name == 'DiceLoss' else {}))
    assert loss(nothing, labels).item() < 1e-2
    assert loss(much, labels).item() > 0.5


def test_generalized_dice_of_one_channel_is_dice() -> None:
    logits, labels = maps(C=1)
    for truth in (labels, torch.where(labels == 1, 0, labels)):
        dice = build('DiceLoss', use_sigmoid=True, naive_dice=True, eps=1e-7)(logits, truth)
        torch.testing.assert_close(build('GeneralizedDiceLoss', eps=1e-7)(logits, truth), dice, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', [*REGION_LOSSES, 'FocalLoss', 'CrossEntropyLoss'])
def test_one_channel_is_the_class_of_label_1(name: str) -> None:
    """A sigmoid of x is a softmax of (0, x): with the weights on class 1, two channels must say the same."""
    logits, labels = maps(C=1)
    loss = build(name, use_sigmoid=True)
    value = loss(logits, labels[:, None])
    counted = labels[:, None] != IGNORED
    flipped = torch.where(counted, 1 - labels[:, None].int(), IGNORED)
    assert value.item() != pytest.approx(loss(logits, flipped).item())
    if name in REGION_LOSSES:
        pair = torch.cat((torch.zeros_like(logits), logits), dim=1)
        args = dict(per_class=True) if name == 'DiceLoss' else {}
        two = build(name, use_sigmoid=False, class_weight=[0.0, 1.0], **args)(pair, labels)
        torch.testing.assert_close(two if name == 'GeneralizedDiceLoss' else two * 2, value, rtol=1e-5, atol=1e-7)
    certain = torch.where(labels[:, None] == 1, 20.0, -20.0).double()
    assert loss(certain, labels[:, None]).item() < 1e-2 * value.item() + 1e-5


@pytest.mark.parametrize('name', ALL)
def test_ignored_pixels_change_nothing(name: str) -> None:
    logits, labels = maps()
    loss = build(name)
    value = loss(logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    ignored = (labels == IGNORED)[:, None].expand_as(logits)
    assert not gradient[ignored].any()
    moved = torch.where(ignored, torch.randn_like(logits) * 5, logits)
    torch.testing.assert_close(loss(moved, labels), value)
    smaller = loss(logits[:, :, 2:], labels[:, 2:])  # all of the ignored pixels are in the first two rows
    expected = loss(torch.cat((moved[:, :, :0], logits[:, :, 2:]), dim=2), labels[:, 2:])
    torch.testing.assert_close(smaller, expected)


@pytest.mark.parametrize('name', ['DiceLoss', 'TverskyLoss', 'LovaszLoss', 'CrossEntropyLoss'])
def test_left_out_pixels_are_as_if_they_were_not_there(name: str) -> None:
    logits, labels = maps(H=5, W=3, ignored=6)  # two whole rows
    torch.testing.assert_close(build(name)(logits, labels), build(name)(logits[:, :, 2:], labels[:, 2:]))


def test_by_default_dice_counts_what_is_predicted_at_ignored_pixels() -> None:
    logits, labels = maps()
    default = LOSSES.build(dict(type='DiceLoss', use_sigmoid=False))
    assert default(logits, labels).item() > build('DiceLoss')(logits, labels).item()


@pytest.mark.parametrize('per_image', [True, False])
@pytest.mark.parametrize('name', ALL)
def test_without_labels_the_loss_is_zero_with_gradient(name: str, per_image: bool) -> None:
    logits, labels = maps()
    loss = build(name, per_image=per_image)(logits, torch.full_like(labels, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == logits.shape
    assert not logits.grad.any()


@pytest.mark.parametrize('name', ALL)
def test_an_image_without_labels_adds_nothing(name: str) -> None:
    logits, labels = maps()
    labels[1] = IGNORED
    both, first = (build(name, per_image=True, reduction='none')(logits[:n], labels[:n]) for n in (2, 1))
    assert both.shape == (2,)
    torch.testing.assert_close(both, torch.cat((first, torch.zeros_like(first))))
    torch.testing.assert_close(build(name, per_image=True)(logits, labels), first[0] / 2)
    (gradient,) = torch.autograd.grad(both.sum(), logits)
    assert gradient[0].any()
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1])), 'of the image without labels'
    if name != 'OhemCrossEntropy':
        torch.testing.assert_close(build(name, per_image=True)(logits, labels, avg_factor=1.0), first[0])


@pytest.mark.parametrize('default', [True, False])
@pytest.mark.parametrize('name', ALL)
def test_image_by_image_is_one_image_after_the_other(name: str, default: bool) -> None:
    logits, labels = maps(B=3)
    labels[1, 2:] = IGNORED
    args = dict(avg_non_ignore=False) if default and name not in ('LovaszLoss', 'OhemCrossEntropy') else {}
    alone = [build(name, per_image=False, **args)(logits[i : i + 1], labels[i : i + 1]) for i in range(3)]
    together = build(name, per_image=True, reduction='none', **args)(logits, labels)
    torch.testing.assert_close(together, torch.stack(alone))
    if not (default and name in ('CrossEntropyLoss', 'FocalLoss')):  # in which every image has all of its pixels for a divisor
        assert build(name, per_image=False, **args)(logits, labels).item() != pytest.approx(together.mean().item(), rel=1e-6)


@pytest.mark.parametrize('per_image', [True, False])
@pytest.mark.parametrize('name', ALL)
def test_gradients(name: str, per_image: bool) -> None:
    logits, labels = maps(H=2, W=3, ignored=1)
    args = dict(class_weight=[1.0, 2.0, 0.5, 1.5], per_image=per_image, reduction='sum')
    loss = build(name, loss_weight=0.7, **args).double()
    if name == 'OhemCrossEntropy':
        loss.thres = 1.0  # keeps all pixels: at a threshold the loss jumps
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits)


@pytest.mark.parametrize('cfg', [dict(use_sigmoid=True), dict(naive_dice=True), dict(per_class=True, per_image=False)])
def test_gradients_of_the_forms_of_dice(cfg: dict) -> None:
    logits, labels = maps(H=2, W=3, ignored=1)
    loss = LOSSES.build(dict(type='DiceLoss', **cfg))
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits)


def test_gradients_of_one_class() -> None:
    logits, labels = maps(C=1, H=3, W=3, ignored=1)
    for loss in (build('LovaszLoss', loss_type='binary'), *(build(name) for name in REGION_LOSSES)):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, labels), logits)


@pytest.mark.parametrize('name', ALL)
def test_permuting_the_batch_changes_nothing(name: str) -> None:
    logits, labels = maps(B=4)
    loss, order = build(name), torch.randperm(4)
    torch.testing.assert_close(loss(logits, labels), loss(logits[order], labels[order]))


@pytest.mark.parametrize('per_image', [True, False])
@pytest.mark.parametrize('name', ALL)
def test_nothing_waits_for_the_device(name: str, per_image: bool) -> None:
    logits, labels = maps()
    loss = build(name, class_weight=[1.0, 2.0, 0.5, 1.5], per_image=per_image).double()
    with NoSync():
        loss(logits, labels).backward()
    if name == 'LovaszLoss':
        with NoSync():
            build(name, classes=[0, 2])(logits, labels).backward()


@pytest.mark.parametrize('name', ALL)
def test_half_precision_is_summed_up_in_float32(name: str) -> None:
    logits, labels = maps(H=64, W=64)
    module = build(name, class_weight=[1.0, 2.0, 0.5, 1.5])
    loss = module(logits.detach().bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(module(logits.detach().bfloat16().double(), labels).item(), rel=1e-4)


@pytest.mark.parametrize('name', REGION_LOSSES)
def test_pixels_have_weights(name: str) -> None:
    logits, labels = maps(ignored=0)
    weight = torch.rand(2, 5, 3, dtype=torch.float64).round()
    assert 0 < weight.sum() < weight.numel()
    ignored = torch.where(weight > 0, labels, IGNORED)
    torch.testing.assert_close(build(name)(logits, labels, weight), build(name)(logits, ignored))


def test_ohem_weighs_pixels_and_lovasz_images() -> None:
    logits, labels = maps()
    each = build('LovaszLoss', per_image=True, reduction='none')(logits, labels)
    weighted = build('LovaszLoss', per_image=True, reduction='sum')(logits, labels, torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(weighted, 2 * each[0] + each[1] / 2)
    plain = build('OhemCrossEntropy')(logits, labels)
    torch.testing.assert_close(build('OhemCrossEntropy')(logits, labels, torch.full((2, 5, 3), 3.0)), 3 * plain)


def test_a_class_can_be_left_out() -> None:
    logits, labels = maps(ignored=0)
    probs = softmax(logits)
    truth = np.eye(4)[labels.numpy()].transpose(0, 3, 1, 2)
    squares = ((probs[:, 1:] ** 2).sum(axis=(1, 2, 3)), truth[:, 1:].sum(axis=(1, 2, 3)))
    expected = np.mean(1 - 2 * (probs * truth)[:, 1:].sum(axis=(1, 2, 3)) / (sum(squares) + 2e-3))
    for args in (dict(ignore_index=0), dict(class_weight=[0.0, 1.0, 1.0, 1.0])):
        loss = LOSSES.build(dict(type='DiceLoss', use_sigmoid=False, **args))
        assert loss(logits, labels).item() == pytest.approx(expected)


def test_masks_are_targets_too() -> None:
    logits, labels = maps(ignored=0)
    masks = nn.functional.one_hot(labels.long(), 4).permute(0, 3, 1, 2).double()
    for name in REGION_LOSSES:
        torch.testing.assert_close(build(name)(logits, masks), build(name)(logits, labels))


@pytest.mark.parametrize('name', [*REGION_LOSSES, 'LovaszLoss', 'OhemCrossEntropy'])
def test_errors_of_shapes_and_types(name: str) -> None:
    logits, labels = maps()
    with pytest.raises(ValueError, match=rf'{name}: `target` must be labels .* got \(2, 3, 5\) and \(2, 4, 5, 3\)'):
        build(name)(logits, labels.transpose(1, 2))
    with pytest.raises(TypeError, match=rf'{name}: `target` must be integer labels, got torch.float32'):
        build(name)(logits, labels.float())


@pytest.mark.parametrize('name', ALL)
def test_errors_of_reductions(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: `reduction` must be one of .*got 'max'"):
        build(name, reduction='max')


@pytest.mark.parametrize('name', ALL)
def test_errors_of_class_weights(name: str) -> None:
    logits, labels = maps()
    for weights in ([2.0], [1.0, 1.0, 1.0]):  # a single one must not count for all classes
        with pytest.raises(ValueError, match=rf'{name}: `class_weight` needs one entry per channel \(4\), got {len(weights)}'):
            build(name, class_weight=weights)(logits, labels)
    with pytest.raises(ValueError, match=rf'{name}: `class_weight` must be'):
        build(name, class_weight=[1.0, -1.0])


@pytest.mark.parametrize('name', REGION_LOSSES)
def test_errors_of_region_losses(name: str) -> None:
    logits, labels = maps()
    with pytest.raises(ValueError, match=rf'{name}: `weight` must be \(B, H, W\), one per pixel, got \(2,\)'):
        build(name)(logits, labels, torch.ones(2))


def test_other_errors() -> None:
    logits, labels = maps()
    with pytest.raises(ValueError, match='DiceLoss: `eps` must be above 0, got 0'):
        build('DiceLoss', eps=0)
    with pytest.raises(ValueError, match='TverskyLoss: `alpha` and `beta` must be 0 or more'):
        build('TverskyLoss', alpha=-0.1)
    with pytest.raises(ValueError, match=r'FocalTverskyLoss: `gamma` must be 1 or more, got 0\.75'):
        build('FocalTverskyLoss', gamma=0.75)
    with pytest.raises(ValueError, match=r"LovaszLoss: `loss_type` must be one of .*got 'multi'"):
        build('LovaszLoss', loss_type='multi')
    with pytest.raises(ValueError, match="LovaszLoss: `classes` must be 'present', 'all' or indices of classes, got 'some'"):
        build('LovaszLoss', classes='some')
    for classes, loss_type in (([], 'multi_class'), ([-1], 'multi_class'), ([1], 'binary')):
        with pytest.raises(ValueError, match='LovaszLoss: `classes` must be one or more indices from 0 on, and only with'):
            build('LovaszLoss', classes=classes, loss_type=loss_type)
    with pytest.raises(ValueError, match='LovaszLoss: `classes` must be below 4, the channels, got 4'):
        build('LovaszLoss', classes=[1, 4])(logits, labels)
    with pytest.raises(ValueError, match="LovaszLoss: 'binary' does not fit logits of 4 channels"):
        build('LovaszLoss', loss_type='binary')(logits, labels)
    with pytest.raises(ValueError, match=r'`weight` \(B,\) is for images, so it needs per_image=True'):
        build('LovaszLoss')(logits, labels, torch.ones(2))
    with pytest.raises(ValueError, match='OhemCrossEntropy: `thres` must be in'):
        build('OhemCrossEntropy', thres=0)
