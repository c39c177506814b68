import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.codecs import AECodec
from mmpose_lite.datasets import pose_collate
from mmpose_lite.engine.config import load_config
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.heads.pose.ae_head import AEMaps, TagHead
from mmpose_lite.registry import DATASETS, HEADS, MODELS
from mmpose_lite.structures import SampleBatch
from tests.conftest import REPO
from tests.no_sync import NoSync
from tests.parity import Reference, weights_module

META = dict(keypoints=['head', 'left_hand', 'right_hand'])
SWAPS = [0, 2, 1]
CODEC = dict(type='AECodec', input_size=(64, 48), heatmap_size=(16, 12), sigma=1.0)  # (w, h); stride 4
FINE = {**CODEC, 'heatmap_size': (32, 24)}
PLAIN = dict(type='AEHead', in_channels=8, codec=CODEC)
HIGHER = dict(type='HigherAEHead', in_channels=8, deconv_out_channels=(6,), num_blocks=1, codec=FINE)
FEATS = (torch.randn(2, 8, 12, 16),)


def build(cfg: dict, **args: object) -> TagHead:
    return HEADS.build({**cfg, **args}, meta=META)


@pytest.fixture(params=[PLAIN, HIGHER], ids=['plain', 'higher'])
def head(request: pytest.FixtureRequest) -> TagHead:
    return build(request.param)


def people(counts: tuple[int, ...] = (2, 1), *, mask: Tensor | None = None) -> SampleBatch:
    """Return images with so many people, all labelled, and a mask at stride 4 (1 everywhere if None)."""
    N = sum(counts)
    points = torch.rand(N, 3, 2) * torch.tensor((63.0, 47.0))
    fields = {'keypoints_input': points, 'keypoints_visible': torch.ones(N, 3)}
    mask = torch.ones(len(counts), 12, 16, dtype=torch.uint8) if mask is None else mask
    return SampleBatch(fields, counts, [{}] * len(counts), maps={'loss_mask': mask})


def test_the_config_is_the_reference(shared) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, 'pose_ae_hrnet_w32_512')
    cfg = load_config(REPO / 'configs/pose/bottomup/ae_hrnet_w32_coco_512x512.py')
    model = weights.fill_(MODELS.build(cfg.model, meta=cfg.meta))
    reference.check_keys(model)
    with torch.no_grad():
        maps = model(weights.inputs(reference.input_shape))
    reference.check_output('head.0', maps.heatmaps)
    reference.check_output('head.1', maps.tags)


def test_keys_of_the_higher_head() -> None:
    """Those of mmpose 0.x's AEHigherResolutionHead with num_deconv_filters=[6], num_basic_blocks=1, cat_output=[True]."""
    norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    expected = [f'final_layers.{i}.{name}' for i in (0, 1) for name in ('weight', 'bias')]
    expected += ['deconv_layers.0.0.0.weight', *(f'deconv_layers.0.0.1.{name}' for name in norm)]
    for i in (1, 2):
        expected += [f'deconv_layers.0.1.0.conv{i}.weight', *(f'deconv_layers.0.1.0.bn{i}.{name}' for name in norm)]
    state = build(HIGHER).state_dict()
    assert list(state) == expected
    assert state['final_layers.0.weight'].shape == (6, 8, 1, 1)  # with tags
    assert state['final_layers.1.weight'].shape == (3, 6, 1, 1)
    assert state['deconv_layers.0.0.0.weight'].shape == (8 + 6, 6, 4, 4)  # features and the first output


def test_outputs_of_the_higher_head_are_those_of_its_keys() -> None:
    """The same numbers from the state dict and torch's functions alone."""
    head = build(HIGHER).eval()
    state = {k: v.uniform_(0.5, 1) if v.ndim < 2 and v.is_floating_point() else v for k, v in head.state_dict().items()}

    def norm(x: Tensor, key: str) -> Tensor:
        mean, var, weight, bias = (state[f'{key}.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias'))
        return functional.batch_norm(x, mean, var, weight, bias)

    first = functional.conv2d(FEATS[0], state['final_layers.0.weight'], state['final_layers.0.bias'])
    x = functional.conv_transpose2d(torch.cat((FEATS[0], first), 1), state['deconv_layers.0.0.0.weight'], stride=2, padding=1)
    x = functional.relu(norm(x, 'deconv_layers.0.0.1'))
    block = 'deconv_layers.0.1.0'
    y = functional.relu(norm(functional.conv2d(x, state[f'{block}.conv1.weight'], padding=1), f'{block}.bn1'))
    x = functional.relu(x + norm(functional.conv2d(y, state[f'{block}.conv2.weight'], padding=1), f'{block}.bn2'))
    second = functional.conv2d(x, state['final_layers.1.weight'], state['final_layers.1.bias'])

    outputs = head.outputs(FEATS)
    torch.testing.assert_close(outputs, (first, second))
    grown = functional.interpolate(first, scale_factor=2, mode='bilinear')
    maps = head(FEATS)
    torch.testing.assert_close(maps.heatmaps, (grown[:, :3] + second) / 2)
    torch.testing.assert_close(maps.tags, grown[:, 3:])


@pytest.mark.parametrize(
    ('args', 'channels', 'tags'),
    [
        (dict(), [6, 3], 3),
        (dict(tag_dim=2), [9, 3], 6),
        (dict(with_tags=(True, True)), [6, 6], 6),
        (dict(with_tags=(False, True)), [3, 6], 3),
        (dict(with_concat=(False,)), [6, 3], 3),
        (dict(deconv_out_channels=(6, 4), deconv_kernel_sizes=(4, 2), final_kernel_size=3), [6, 3, 3], 3),
    ],
)
def test_variants_of_the_higher_head(args: dict, channels: list[int], tags: int) -> None:
    head = build(HIGHER, **args)
    outputs = head.outputs(FEATS)
    assert [out.shape[1] for out in outputs] == channels
    assert [tuple(out.shape[2:]) for out in outputs] == [(12 * 2**i, 16 * 2**i) for i in range(len(outputs))]
    maps = head(FEATS)
    assert maps.tags.shape == (2, tags, *outputs[-1].shape[2:])
    assert maps.heatmaps.shape == (2, 3, *outputs[-1].shape[2:])


def test_the_plain_head_can_enlarge_coarse_maps() -> None:
    head = build(PLAIN, deconv_out_channels=(5, 5), deconv_kernel_sizes=(4, 3), tag_dim=2, final_kernel_size=3)
    maps = head((torch.rand(2, 9, 99, 99), torch.rand(2, 8, 3, 4)))
    assert maps.heatmaps.shape == (2, 3, 12, 16)
    assert maps.tags.shape == (2, 6, 12, 16)


def test_losses_are_those_of_the_outputs_one_by_one(head: TagHead) -> None:
    mask = torch.ones(2, 12, 16, dtype=torch.uint8)
    mask[0, :5] = 0
    batch = people(mask=mask)
    losses = head.loss(FEATS, batch)
    keypoints, visible = batch.padded('keypoints_input'), batch.padded('keypoints_visible')
    heatmap = pull = push = 0
    for output in head.outputs(FEATS):
        H, W = output.shape[2:]
        codec = AECodec((64, 48), (W, H), meta=META, sigma=1.0)
        targets = codec.encode(keypoints, visible)
        counted = mask.repeat_interleave(H // 12, dim=1).repeat_interleave(W // 16, dim=2)[:, None]
        heatmap = heatmap + ((output[:, :3] - targets.heatmaps).square() * counted).mean()
        if output.shape[1] > 3:
            one_pull, one_push = head.loss_tag(output[:, 3:], targets.indices, targets.weights)
            pull, push = pull + one_pull, push + one_push
    assert list(losses) == ['loss_heatmap', 'loss_pull', 'loss_push']
    torch.testing.assert_close(tuple(losses.values()), (heatmap, pull, push))
    assert all(value > 0 for value in losses.values())


def test_cells_that_are_masked_out_do_not_count(head: TagHead) -> None:
    mask = torch.zeros(2, 12, 16, dtype=torch.uint8)
    losses = head.loss(FEATS, people(mask=mask))
    assert losses['loss_heatmap'].item() == 0
    assert losses['loss_pull'].item() > 0  # labelled people are not in masked regions


def test_a_mask_of_finer_cells_counts_by_shares() -> None:
    head, mask = build(PLAIN), torch.ones(2, 24, 32, dtype=torch.uint8)
    mask[:, ::2] = 0
    whole = head.loss(FEATS, people((0, 0)))['loss_heatmap']
    assert head.loss(FEATS, people((0, 0), mask=mask))['loss_heatmap'].item() == pytest.approx(whole.item() / 2)


@pytest.mark.parametrize('counts', [(0, 0), (0, 3)])
def test_images_without_people(head: TagHead, counts: tuple[int, int]) -> None:
    losses = head.loss(FEATS, people(counts))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
    assert (losses['loss_push'].item() == 0) == (counts == (0, 0))


def test_every_parameter_has_a_gradient_and_nothing_waits_for_the_device(head: TagHead) -> None:
    batch = people().to('cpu')
    with NoSync():
        sum(head.loss(FEATS, batch).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_half_precision_maps_are_supervised_in_float32(head: TagHead) -> None:
    seen = []
    for loss in (head.loss_heatmap, head.loss_tag):
        loss.register_forward_pre_hook(lambda _module, args: seen.append(args[0].dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert head(FEATS).heatmaps.dtype == torch.bfloat16
        assert {value.dtype for value in head.loss(FEATS, people()).values()} == {torch.float32}
        assert set(seen) == {torch.float32}
        assert len(head.predict(FEATS)) == 2


def ideal(codec: AECodec, points: Tensor, tag: float) -> AEMaps:
    """Return the maps of one image with right heatmaps and tags: `tag` + 3 n for person n, read where it has its keypoints."""
    targets = codec.encode(points[None], torch.ones(1, *points.shape[:2]))
    tags = torch.full_like(targets.heatmaps, -60).flatten(2)
    for n, k in np.ndindex(*points.shape[:2]):
        tags[0, k, targets.indices[0, n, k]] = tag + 3 * n
    return AEMaps(targets.heatmaps, tags.view_as(targets.heatmaps))


PEOPLE = torch.tensor([[[9.5, 5.5], [29.5, 17.5], [13.5, 33.5]], [[49.5, 37.5], [53.5, 9.5], [41.5, 25.5]]])  # middles of cells


def test_merging_the_passes_of_a_flip_test() -> None:
    head = build(PLAIN)
    mirrored_people = torch.stack((63 - PEOPLE[..., 0], PEOPLE[..., 1]), dim=-1)[:, SWAPS]
    mirrored = ideal(head.codec, mirrored_people, tag=40)
    mirrored.heatmaps.mul_(0.5)
    merged = head.merge_flipped(ideal(head.codec, PEOPLE, tag=7), mirrored)
    torch.testing.assert_close(merged.heatmaps, 0.75 * ideal(head.codec, PEOPLE, tag=7).heatmaps)
    assert merged.tags.shape == (1, 6, 12, 16)
    torch.testing.assert_close(merged.tags[:, 3:], ideal(head.codec, PEOPLE, tag=40).tags)
    (groups,) = head.decode(merged)
    order = groups.keypoints[:, 0, 0].argsort()
    np.testing.assert_allclose(groups.keypoints[order], PEOPLE, atol=1e-4)
    np.testing.assert_allclose(groups.scores, 0.75)


def test_both_passes_decide_who_belongs_together() -> None:
    """Two people whose tags are alike in one pass are told apart by the other."""
    head = build(PLAIN)
    maps, other = ideal(head.codec, PEOPLE, tag=0), ideal(head.codec, PEOPLE, tag=0)
    maps.tags[maps.tags > -60] = 0
    assert head.decode(AEMaps(maps.heatmaps, torch.cat((maps.tags, other.tags), dim=1)))[0].scores == pytest.approx([1, 1])


def test_merging_scales_averages_heatmaps_and_keeps_the_first_tags() -> None:
    head = build(PLAIN)
    first, second = AEMaps(torch.rand(1, 3, 12, 16), torch.rand(1, 3, 12, 16)), AEMaps(*torch.rand(2, 1, 3, 6, 8))
    merged = head.merge_scales([first, second])
    grown = functional.interpolate(second.heatmaps, scale_factor=2, mode='bilinear')
    torch.testing.assert_close(merged.heatmaps, (first.heatmaps + grown) / 2)
    assert merged.tags is first.tags


def test_predicting_is_decoding(head: TagHead) -> None:
    for one, other in zip(head.predict(FEATS), head.codec.decode(*head(FEATS))):
        for a, b in zip(one, other):
            np.testing.assert_array_equal(a, b)


def test_initial_values() -> None:
    head = build(HIGHER, in_channels=64, deconv_out_channels=(64,))
    head.init_weights()
    assert head.deconv_layers[0][0][0].weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert head.final_layers[0].weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert head.deconv_layers[0][1][0].conv1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert not head.final_layers[1].bias.any()
    plain = build(PLAIN, in_channels=512)
    plain.init_weights()
    assert plain.final_layer.weight.std().item() == pytest.approx(0.001, rel=0.1)


@pytest.mark.parametrize(
    ('cfg', 'args', 'message'),
    [
        (PLAIN, dict(tag_dim=0), 'AEHead: `tag_dim` must be 1 or more, got 0'),
        (
            *(PLAIN, dict(codec=dict(type='HeatmapCodec', input_size=(64, 48), heatmap_size=(16, 12)))),
            r'AEHead: `codec` must make tags, as AECodec does, got HeatmapCodec\(',
        ),
        (PLAIN, dict(final_kernel_size=2), 'AEHead: `final_kernel_size` must be odd, got 2'),
        (PLAIN, dict(deconv_out_channels=(4,), deconv_kernel_sizes=(5,)), 'AEHead: `deconv_kernel_sizes` must be of'),
        (HIGHER, dict(deconv_kernel_sizes=(4, 4)), r'HigherAEHead: `deconv_kernel_sizes` needs 1 entries, got \(4, 4\)'),
        (HIGHER, dict(with_tags=(True,)), r'`with_tags` needs 2 entries, got \(True,\)'),
        (HIGHER, dict(with_concat=()), r'`with_concat` needs 1 entries, got \(\)'),
        (HIGHER, dict(with_tags=(False, False)), r'`with_tags` must be true for an output at least, got \(False, False\)'),
    ],
)
def test_wrong_arguments(cfg: dict, args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(cfg, **args)


def test_wrong_calls(head: TagHead) -> None:
    name = type(head).__name__
    batch = people()
    unmasked = SampleBatch({key: getattr(batch, key) for key in batch.keys()}, batch.counts, batch.metainfo)  # noqa: SIM118
    with pytest.raises(ConfigError, match=f'{name}: `data_samples` must have a loss_mask, .*GenerateLossMask'):
        head.loss(FEATS, unmasked)
    with pytest.raises(ConfigError, match=rf'{name}: the finest maps must be .* \(w, h\), `codec.heatmap_size`, got \('):
        head.loss((torch.rand(2, 8, 6, 8),), batch)


def test_the_passes_of_the_estimator() -> None:
    """Flip test and three scales: heatmaps of six passes are averaged, tags are those of the two at scale 1."""
    codec = {**CODEC, 'heatmap_size': (4, 3)}  # stride 16
    head = dict(type='HigherAEHead', in_channels=128, deconv_out_channels=(4,), num_blocks=0, codec=codec)
    cfg = dict(type='BottomupPoseEstimator', meta=META, backbone=THIN_RESNET, head=head)
    model = MODELS.build({**cfg, 'test_cfg': dict(flip_test=True, scales=(0.5, 1, 2))}).eval()
    inputs = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        merged = model.merge_passes(model(inputs), inputs)
        heatmaps = []
        for scale in (1, 0.5, 2):
            scaled = functional.interpolate(inputs, scale_factor=scale, mode='bilinear')
            here, there = model(scaled), model(scaled.flip(-1))
            mean = (here.heatmaps + there.heatmaps.flip(-1)[:, SWAPS]) / 2
            heatmaps.append(functional.interpolate(mean, size=merged.heatmaps.shape[2:], mode='bilinear'))
            if scale == 1:
                tags = torch.cat((here.tags, there.tags.flip(-1)[:, SWAPS]), dim=1)
    torch.testing.assert_close(merged.heatmaps, sum(heatmaps) / 3, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(merged.tags, tags)
    assert merged.tags.shape[1] == 6


def stage(branches: int, channels: tuple[int, ...], block: str = 'BASIC') -> dict:
    return dict(num_modules=1, num_branches=branches, block=block, num_blocks=(1,) * branches, num_channels=channels)


THIN_HRNET = dict(
    type='HRNet',
    extra=dict(
        stage1=stage(1, (8,), 'BOTTLENECK'),
        stage2=stage(2, (16, 16)),
        stage3=stage(3, (16, 16, 32)),
        stage4=stage(4, (16, 16, 32, 32)),
    ),
)
THIN_RESNET = dict(type='ResNet', depth=18, stem_channels=16, base_channels=16)
OVERFIT = dict(loss_tag=dict(type='AssociativeEmbeddingLoss', loss_weight=0.01))  # ten times the published weight: few steps


@pytest.fixture
def one_thread() -> None:
    """So few steps depend on the order of sums, and that on the number of threads."""
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ('backbone', 'head', 'heatmap_size', 'sigma', 'steps'),
    [
        (THIN_RESNET, dict(type='AEHead', in_channels=128, deconv_out_channels=(32, 32, 32)), (24, 16), 1.0, 240),
        (THIN_HRNET, dict(type='HigherAEHead', in_channels=16, deconv_out_channels=(16,), num_blocks=1), (48, 32), 1.5, 160),
    ],
    ids=['plain', 'higher'],
)
def test_a_thin_network_learns_the_people_of_an_image(
    tmp_path, one_thread: None, backbone: dict, head: dict, heatmap_size: tuple[int, int], sigma: float, steps: int
) -> None:
    """The whole way: from the file of an image to the poses in it."""
    size = (96, 64)
    pipeline = [
        *(dict(type='LoadImage'), dict(type='BottomupResize', input_size=size)),
        *(dict(type='GenerateLossMask', mask_size=(24, 16)), dict(type='PackPoseInputs')),
    ]
    recipe = dict(num_train=6, num_val=1, image_size=size, max_people=2, data_mode='bottomup')
    dataset = DATASETS.build(
        dict(type='SyntheticPeopleDataset', split='train', data_root=str(tmp_path), pipeline=pipeline, **recipe)
    )
    codec = dict(type='AECodec', input_size=size, heatmap_size=heatmap_size, sigma=sigma)
    cfg = dict(type='BottomupPoseEstimator', meta='coco17', backbone=backbone, head={**head, **OVERFIT, 'codec': codec})
    model: nn.Module = MODELS.build(cfg)
    model.init_weights()
    batch = pose_collate([next(sample for sample in dataset if len(sample['instances']['keypoints']) == 2)])

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    inputs = model.data_preprocessor(batch, training=True)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(model(**inputs, mode='loss').values()).backward()
        optimizer.step()
        schedule.step()
    (sample,) = model.eval().test_step(batch)

    gt, labelled = sample.gt_instances.keypoints.numpy(), sample.gt_instances.keypoints_visible.numpy() > 0
    best = (-sample.pred_instances.bbox_scores).argsort()[:2]
    assert (sample.pred_instances.bbox_scores[best] > 0.3).all()
    errors = [[(sample.pred_instances.keypoints[n] - person)[seen] for n in best] for person, seen in zip(gt, labelled)]
    worst = np.array([[np.abs(error).max() for error in row] for row in errors])
    assert sorted(worst.argmin(axis=1)) == [0, 1]
    assert worst.min(axis=1).max() < 4, worst  # px, the plain head's cell
    signed = np.concatenate([row[n] for row, n in zip(errors, worst.argmin(axis=1))]).mean(axis=0)
    assert np.abs(signed).max() < 1, signed  # no half cell too far to one side
