from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.engine.config import load_config
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.losses.classification import KLDiscretLoss
from mmpose_lite.ops.simcc import marginal_weights
from mmpose_lite.registry import HEADS, LOSSES, MODELS
from mmpose_lite.structures import SampleBatch
from tests.parity import Reference, weights_module
from tests.tiny_training import assert_learns

CODEC = dict(type='SimCCCodec', input_size=(48, 64), sigma=3.0)
KINDS = ('SimCCHead', 'RTMCCHead')


def build(kind: str = 'SimCCHead', **args: object) -> nn.Module:
    cfg = dict(type=kind, in_channels=8, out_channels=3, in_featuremap_size=(6, 8), codec=CODEC)
    if kind == 'SimCCHead':
        cfg.update(deconv_out_channels=(8,), deconv_kernel_sizes=(4,))
    else:
        cfg.update(loss=dict(type='KLDiscretLoss', beta=10.0, label_softmax=True), hidden_dims=32, attention_dims=16)
    return HEADS.build({**cfg, **args})


def two_people(visible: Tensor | None = None) -> SampleBatch:
    """Return one instance per image in crop px."""
    keypoints = torch.tensor([[[8.0, 8], [20, 40], [44, 60]], [[12.0, 20], [32, 4], [0, 0]]])
    visible = torch.ones(2, 3) if visible is None else visible
    return SampleBatch({'keypoints_input': keypoints, 'keypoints_visible': visible}, [1, 1], [{}, {}])


@pytest.mark.parametrize(
    ('network', 'config'),
    [
        ('pose_simcc_resnet50_256x192', 'simcc_resnet50_coco_256x192'),
        ('pose_rtmpose_m_256x192', 'rtmpose_m_coco_256x192'),
    ],
)
def test_the_config_is_the_reference(repo: Path, shared: Path, network: str, config: str) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, network)
    cfg = load_config(repo / 'configs' / 'pose' / 'topdown' / f'{config}.py')
    model = MODELS.build(cfg.model, meta=cfg.meta)
    weights.fill_(model)
    reference.check_keys(model, prefixes=('backbone.', 'head.'))
    with torch.no_grad():
        x, y = model(weights.inputs(reference.input_shape))
    reference.check_output('head.0', x)
    reference.check_output('head.1', y)


@pytest.mark.parametrize('kind', KINDS)
def test_loss_is_the_loss_of_the_codecs_targets_and_reaches_every_parameter(kind: str) -> None:
    head = build(kind).eval()
    batch, feats = two_people(torch.tensor([[1.0, 1, 1], [1, 1, 0]])), (torch.rand(2, 8, 8, 6),)
    losses = head.loss(feats, batch)
    target, weight = head.codec.encode(batch.keypoints_input[:, None], batch.keypoints_visible[:, None])
    torch.testing.assert_close(losses['loss_kpt'], head.loss_module(head(feats), target, weight))
    losses['loss_kpt'].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert list(losses) == ['loss_kpt', 'acc_pose']
    assert not losses['acc_pose'].requires_grad


@pytest.mark.parametrize('kind', KINDS)
def test_loss_without_labels_is_zero_with_gradient(kind: str) -> None:
    head = build(kind)
    losses = head.loss((torch.rand(2, 8, 8, 6),), two_people(torch.zeros(2, 3)))
    losses['loss_kpt'].backward()
    assert losses['loss_kpt'].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


@pytest.mark.parametrize('kind', KINDS)
def test_a_head_learns_one_batch(kind: str) -> None:
    head, batch, feats = build(kind), two_people(), (torch.randn(2, 8, 8, 6),)
    head.init_weights()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    history = []
    for _ in range(60):
        optimizer.zero_grad()
        losses = head.loss(feats, batch)
        losses['loss_kpt'].backward()
        optimizer.step()
        history.append(losses['loss_kpt'].item())
    assert history[10] < history[0]
    assert history[-1] < 0.3 * history[0]
    assert losses['acc_pose'].item() == 1


@pytest.mark.parametrize('kind', KINDS)
def test_merging_a_mirrored_image(kind: str) -> None:
    head = build(kind)
    x, y = torch.rand(2, 3, 96), torch.rand(2, 3, 128)
    mirrored = (torch.rand(2, 3, 96), torch.rand(2, 3, 128))
    merged = head.merge_flipped((x, y), mirrored, [1, 0, 2])
    torch.testing.assert_close(merged[0][:, 0], (x[:, 0] + mirrored[0][:, 1].flip(-1)) / 2)
    torch.testing.assert_close(merged[1], (y + mirrored[1][:, [1, 0, 2]]) / 2)
    shifted = head.merge_flipped((x, y), mirrored, [1, 0, 2], shift=True)
    torch.testing.assert_close(shifted[0][:, 0, :-1], (x[:, 0] + mirrored[0][:, 1].flip(-1).roll(-1))[:, :-1] / 2)


@pytest.mark.parametrize('kind', KINDS)
def test_loss_under_bfloat16_autocast_is_float32(kind: str) -> None:
    head, feats = build(kind), (torch.rand(2, 8, 8, 6),)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert head(feats)[0].dtype == torch.bfloat16
        assert head.loss(feats, two_people())['loss_kpt'].dtype == torch.float32
        assert head.predict(feats)[0].dtype == torch.float32


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('num_keypoints', [1, 2, 133])
def test_the_number_of_keypoints_comes_from_the_meta(kind: str, num_keypoints: int) -> None:
    head = build(kind, out_channels=None, meta=dict(keypoints=num_keypoints)).eval()
    x, y = head((torch.rand(2, 8, 8, 6),))
    assert x.shape == (2, num_keypoints, 96)
    assert y.shape == (2, num_keypoints, 128)
    keypoints, scores = head.decode((x, y))
    assert keypoints.shape == (2, num_keypoints, 2)
    assert scores.shape == (2, num_keypoints)


@pytest.mark.parametrize(
    ('backbone', 'head', 'lr'),
    [
        (
            dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            dict(type='SimCCHead', in_channels=64, deconv_out_channels=(16,), deconv_kernel_sizes=(4,)),
            1e-2,
        ),
        (
            dict(type='CSPNeXt', deepen_factor=0.1, widen_factor=0.125),
            dict(type='RTMCCHead', in_channels=128, loss=dict(type='KLDiscretLoss', beta=10.0, label_softmax=True)),
            1e-3,
        ),
    ],
    ids=['simcc', 'rtmpose'],
)
def test_a_thin_network_learns_one_batch(backbone: dict, head: dict, lr: float) -> None:
    codec = dict(type='SimCCCodec', input_size=(64, 64), sigma=4.0, normalize=head['type'] == 'SimCCHead')
    assert_learns(
        dict(
            type='TopdownPoseEstimator',
            meta='lsp14',
            backbone=backbone,
            head=dict(in_featuremap_size=(2, 2), codec=codec, **head),
        ),
        steps=20,
        lr=lr,
    )


def test_a_head_without_deconvolutions() -> None:
    head = build(deconv_out_channels=None)
    assert list(head.state_dict())[:2] == ['final_layer.weight', 'final_layer.bias']
    assert head.mlp_head_x.weight.shape == (96, 48)
    assert head((torch.rand(2, 4, 16, 12), torch.rand(2, 8, 8, 6)))[1].shape == (2, 3, 128)


def test_initial_values() -> None:
    head = build(deconv_out_channels=(64,))
    head.init_weights()
    assert head.deconv_head.deconv_layers[0].weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert head.mlp_head_x.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.mlp_head_y.bias.any()
    head = build(linear_init='marginal')
    head.init_weights()
    x, y = marginal_weights((12, 16), head.codec.num_bins)
    assert torch.equal(head.mlp_head_x.weight, x)
    assert torch.equal(head.mlp_head_y.weight, y)
    assert head.mlp_head_x.weight.requires_grad


@pytest.mark.parametrize('kind', KINDS)
def test_wrong_arguments(kind: str) -> None:
    with pytest.raises(ValueError, match=f'{kind}: `out_channels` or `meta` must be given'):
        build(kind, out_channels=None)
    with pytest.raises(ValueError, match=f'{kind}: `out_channels` must be the 17 keypoints of `meta`, got 3'):
        build(kind, meta='coco17')
    with pytest.raises(ValueError, match=rf'{kind}: `codec` must make labels, as SimCCCodec does, got HeatmapCodec\('):
        build(kind, codec=dict(type='HeatmapCodec', input_size=(48, 64), heatmap_size=(12, 16)))
    with pytest.raises(ConfigError, match=rf'{kind}: the network gives labels of .* \(2, 4\) .* \(2, 3\); check `meta`'):
        build(kind, out_channels=4).loss((torch.rand(2, 8, 8, 6),), two_people())
    with pytest.raises(ConfigError, match=f'{kind}: its linear layers read maps of .* Set `in_featuremap_size`'):
        build(kind)((torch.rand(1, 8, 4, 6),))


@pytest.mark.parametrize('kind', KINDS)
def test_several_scales_are_refused_at_once(kind: str) -> None:
    head = dict(type=kind, in_channels=8, in_featuremap_size=(2, 2), codec={**CODEC, 'input_size': (64, 64)})
    cfg = dict(type='TopdownPoseEstimator', meta='lsp14', backbone=dict(type='ResNet', depth=18, base_channels=8), head=head)
    with pytest.raises(ValueError, match=f'merge_scales; {kind} has none, as only maps can be averaged.* Set scales='):
        MODELS.build({**cfg, 'test_cfg': dict(scales=(1.0, 0.5))})


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`linear_init` must be one of \('normal', 'marginal'\), got 'zero'"):
        build(linear_init='zero')


def test_an_even_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match='`final_layer_kernel_size` must be odd, got 4'):
        build('RTMCCHead', final_layer_kernel_size=4)


def test_kl_loss_by_a_slow_loop() -> None:
    pred, target = (torch.randn(2, 3, 5), torch.randn(2, 3, 7)), (torch.rand(2, 3, 5), torch.rand(2, 3, 7))
    weight = torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])
    for softmax in (False, True):
        expected = 0.0
        for logits, label in zip(pred, target, strict=True):
            for b in range(2):
                for k in range(3):
                    goal = torch.softmax(10 * label[b, k], 0) if softmax else label[b, k]
                    log_prob = torch.log(torch.softmax(4 * logits[b, k], 0))
                    expected += weight[b, k] * (goal * (goal.log() - log_prob)).mean()
        loss = KLDiscretLoss(beta=4.0, label_softmax=softmax)(pred, target, weight)
        torch.testing.assert_close(loss, expected / 3)


def test_kl_loss_is_zero_at_its_minimum() -> None:
    target = torch.softmax(torch.randn(2, 3, 5), -1)
    loss = KLDiscretLoss(use_target_weight=False)((target.log(),) * 2, (target,) * 2)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('softmax', [False, True])
def test_gradient_of_the_kl_loss(softmax: bool) -> None:
    loss = LOSSES.build(dict(type='KLDiscretLoss', beta=2.0, label_softmax=softmax))
    x, y = (torch.randn(2, 3, n, dtype=torch.float64, requires_grad=True) for n in (4, 5))
    target = (torch.rand(2, 3, 4, dtype=torch.float64), torch.rand(2, 3, 5, dtype=torch.float64))
    target[0][0, 0] = 0  # an unlabelled keypoint
    weight = torch.rand(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: loss((a, b), target, weight), (x, y))


def test_kl_loss_names_wrong_shapes() -> None:
    pred = (torch.rand(2, 3, 5), torch.rand(2, 3, 7))
    with pytest.raises(ValueError, match=r'KLDiscretLoss: `weight` must be \(B, K\) = \(2, 3\), got None'):
        KLDiscretLoss()(pred, pred)
    with pytest.raises(ValueError, match='KLDiscretLoss: `pred` and `target` must have one shape'):
        KLDiscretLoss()(pred, pred[::-1], torch.ones(2, 3))
