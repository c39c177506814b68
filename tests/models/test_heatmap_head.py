from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.backbones.resnet import ResNet
from mmpose_lite.models.heads.pose.heatmap_head import HeatmapHead
from mmpose_lite.registry import HEADS, ArgumentError
from mmpose_lite.structures import SampleBatch
from tests.parity import Reference, checkpoint_tensors, relative_error, weights_module

CODEC = dict(type='HeatmapCodec', input_size=(48, 64), heatmap_size=(12, 16), sigma=1.5)


def build(**args: object) -> HeatmapHead:
    cfg = dict(type='HeatmapHead', in_channels=8, deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4), codec=CODEC)
    if 'out_channels' not in args and 'meta' not in args:
        args['out_channels'] = 3
    return HEADS.build({**cfg, **args})


def samples(keypoints: Tensor, visible: Tensor | None = None) -> SampleBatch:
    """Return one instance per image from (B, K, 2) keypoints in input px."""
    B, K, _ = keypoints.shape
    visible = torch.ones(B, K) if visible is None else visible
    return SampleBatch({'keypoints_input': keypoints, 'keypoints_visible': visible}, [1] * B, [{}] * B)


def two_people() -> SampleBatch:
    return samples(torch.tensor([[[8.0, 8], [20, 40], [44, 60]], [[12.0, 20], [32, 4], [0, 0]]]))


class Pose(nn.Module):
    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def test_resnet50_is_the_reference(shared: Path) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, 'pose_resnet50_256x192')
    model = weights.fill_(Pose(ResNet(50), HeatmapHead(2048, meta='coco17')))
    reference.check_keys(model)
    with torch.no_grad():
        reference.check_output('head', model(weights.inputs(reference.input_shape)))


def test_a_trained_checkpoint_gives_the_reference_output(shared: Path) -> None:
    path = shared / 'parity' / 'checkpoints' / 'mmpose_resnet18thin_lspet.pth'
    backbone = ResNet(18, base_channels=8, stem_channels=8)
    model = Pose(backbone, HeatmapHead(*backbone.out_channels, meta='lsp14', deconv_out_channels=(16, 16, 16))).eval()
    state_dict = {k: v for k, v in checkpoint_tensors(path).items() if not k.startswith('data_preprocessor.')}
    model.load_state_dict(state_dict)
    with torch.no_grad():
        ours = model(weights_module(shared).inputs([2, 3, 128, 96])).numpy()
    assert relative_error(ours, np.load(path.with_suffix('.npz'))['head']) < 1e-4


def test_keys_of_a_head_with_all_layers() -> None:
    head = build(conv_out_channels=(6, 5), conv_kernel_sizes=(3, 1), final_layer=dict(kernel_size=3, padding=1))
    shapes = {key: tuple(value.shape) for key, value in head.state_dict().items() if key.endswith('weight') and value.ndim == 4}
    assert shapes == {
        'deconv_layers.0.weight': (8, 8, 4, 4),
        'deconv_layers.3.weight': (8, 8, 4, 4),
        'conv_layers.0.weight': (6, 8, 3, 3),
        'conv_layers.3.weight': (5, 6, 1, 1),
        'final_layer.weight': (3, 5, 3, 3),
    }
    assert 'conv_layers.0.bias' in head.state_dict()
    assert 'deconv_layers.0.bias' not in head.state_dict()
    assert head((torch.rand(2, 8, 4, 3),)).shape == (2, 3, 16, 12)


@pytest.mark.parametrize('kernel', [2, 3, 4])
def test_each_deconvolution_doubles_the_map(kernel: int) -> None:
    head = build(deconv_kernel_sizes=(kernel, kernel))
    assert head((torch.rand(1, 8, 5, 3),)).shape == (1, 3, 20, 12)


def test_the_coarsest_map_is_read() -> None:
    head = build().eval()
    fine, coarse = torch.rand(1, 4, 8, 6), torch.rand(1, 8, 4, 3)
    assert torch.equal(head((fine, coarse)), head((coarse,)))


def test_a_head_without_final_layer() -> None:
    head = build(deconv_out_channels=(8, 3), final_layer=None)
    assert head((torch.rand(1, 8, 4, 3),)).shape == (1, 3, 16, 12)
    assert not [key for key in head.state_dict() if key.startswith('final_layer')]


@pytest.mark.parametrize('num_keypoints', [1, 2, 5, 21, 133])
def test_the_number_of_keypoints_comes_from_the_meta(num_keypoints: int) -> None:
    head = HEADS.build(
        dict(type='HeatmapHead', in_channels=8, deconv_out_channels=None, codec=CODEC), meta=dict(keypoints=num_keypoints)
    )
    batch = samples(torch.rand(2, num_keypoints, 2) * 48)
    feats = (torch.rand(2, 8, 16, 12),)
    assert head(feats).shape == (2, num_keypoints, 16, 12)
    head.loss(feats, batch)['loss_kpt'].backward()
    keypoints, scores = head.predict(feats, batch)
    assert keypoints.shape == (2, num_keypoints, 2)
    assert scores.shape == (2, num_keypoints)


def test_loss_is_the_loss_of_the_codecs_targets_and_reaches_every_parameter() -> None:
    head, batch = build(loss=dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=3.0)), two_people()
    batch.keypoints_visible[1, 2] = 0
    feats = (torch.rand(2, 8, 4, 3),)
    losses = head.loss(feats, batch)
    target, _ = head.codec.encode(batch.keypoints_input[:, None], batch.keypoints_visible[:, None])
    error = (head(feats) - target).square()
    error[1, 2] = 0
    torch.testing.assert_close(losses['loss_kpt'], 3 * error.mean())
    losses['loss_kpt'].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert list(losses) == ['loss_kpt', 'acc_pose']
    assert not losses['acc_pose'].requires_grad


def test_loss_without_labels_is_zero_with_gradient() -> None:
    head, keypoints = build(), two_people().keypoints_input
    losses = head.loss((torch.rand(2, 8, 4, 3),), samples(keypoints, torch.zeros(2, 3)))
    losses['loss_kpt'].backward()
    assert losses['loss_kpt'].item() == 0
    assert losses['acc_pose'].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_perfect_maps_decode_to_the_keypoints_within_half_a_cell() -> None:
    head, batch = build(deconv_out_channels=None, in_channels=3, final_layer=None), two_people()
    maps, _ = head.codec.encode(batch.keypoints_input[:, None], batch.keypoints_visible[:, None])
    assert head.loss((maps,), batch)['loss_kpt'].item() == 0
    assert head.loss((maps,), batch)['acc_pose'].item() == 1
    keypoints, scores = head.predict((maps,), batch)
    assert (keypoints - batch.keypoints_input).abs().max() <= 2.0  # px; a cell is 4 px
    torch.testing.assert_close(scores, torch.ones(2, 3))
    torch.testing.assert_close(head.decode(maps)[0], keypoints)


def test_loss_under_bfloat16_autocast_is_float32() -> None:
    head, seen = build(), []
    head.loss_module.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        feats = (torch.rand(2, 8, 4, 3),)
        assert head(feats).dtype == torch.bfloat16
        assert head.loss(feats, two_people())['loss_kpt'].dtype == torch.float32
        assert seen == [torch.float32]
        assert head.predict(feats)[0].dtype == torch.float32


def test_a_head_learns_one_batch() -> None:
    head, batch, feats = build(), two_people(), (torch.randn(2, 8, 4, 3),)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    history = []
    for _ in range(250):
        optimizer.zero_grad()
        losses = head.loss(feats, batch)
        losses['loss_kpt'].backward()
        optimizer.step()
        history.append(float(losses['loss_kpt'].detach()))
    assert history[-1] < 0.1 * history[0]
    assert losses['acc_pose'].item() == 1


def test_initial_values() -> None:
    head = build(deconv_out_channels=(64, 64), conv_out_channels=(64,), conv_kernel_sizes=(3,))
    head.init_weights()
    for layer in (head.deconv_layers[0], head.deconv_layers[3], head.conv_layers[0]):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not head.final_layer.bias.any()
    assert (head.deconv_layers[1].weight == 1).all()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(out_channels=None), '`out_channels` or `meta` must be given'),
        (dict(out_channels=14, meta='coco17'), '`out_channels` must be the 17 keypoints of `meta`, got 14. Leave'),
        (dict(deconv_kernel_sizes=(4,)), r'`deconv_kernel_sizes` needs one entry per deconv layer \(2\), got \(4,\)'),
        (dict(deconv_kernel_sizes=(4, 5)), r'`deconv_kernel_sizes` must be of \[2, 3, 4\], got 5'),
        (dict(conv_out_channels=(4,)), r'`conv_kernel_sizes` needs one entry per conv layer \(1\), got \(\)'),
        (dict(conv_out_channels=(4,), conv_kernel_sizes=(2,)), '`conv_kernel_sizes` must be odd, got 2'),
        (dict(final_layer=None), 'the last layer must have 3 channels, one per keypoint, got 8'),
        (dict(final_layer=dict(kernel=1)), r"`final_layer` takes kernel_size and padding, got \['kernel'\]"),
        (dict(codec=dict(type='SimCCCodec', input_size=(48, 64))), r'`codec` must make heatmaps, .*got SimCCCodec\(.*SimCCHead'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**args)


def test_a_misspelt_argument_of_the_loss_is_named_with_its_path() -> None:
    with pytest.raises(ArgumentError, match='config key `loss`: KeypointMSELoss has no argument `use_target_weigth`'):
        build(loss=dict(type='KeypointMSELoss', use_target_weigth=True))


def test_wrong_calls() -> None:
    feats = (torch.rand(2, 8, 4, 3),)
    with pytest.raises(ConfigError, match='`codec` must be given for loss and predict'):
        build(codec=None).loss(feats, two_people())
    with pytest.raises(ValueError, match=r'gives maps of \(B, K, H, W\) = \(2, 3, 32, 24\), the targets are \(2, 3, 16, 12\)'):
        build().loss((torch.rand(2, 8, 8, 6),), two_people())
    with pytest.raises(ValueError, match='check `meta`, `out_channels`'):
        build(out_channels=4).loss(feats, two_people())
