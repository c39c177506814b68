"""Every family of networks learns and finds on a GPU what it does on the CPU, without mixing devices; the GPU is made up.

Losses are computed, moreover, without waiting for the device: neither for values nor for numbers from the host.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmpose_lite.apis.benchmark_nms import made_up_boxes
from mmpose_lite.models.heads.roi.candidates import join_rois
from mmpose_lite.models.necks import build_neck
from mmpose_lite.registry import BACKBONES, LOSSES, MODELS, NMS, ROI_EXTRACTORS
from mmpose_lite.structures import SampleBatch
from tests.det_batches import det_batch
from tests.models import test_ae_head as ae
from tests.models import test_bbox_head as boxes
from tests.models import test_bottomup as bottomup
from tests.models import test_cascade as cascade
from tests.models import test_guided_anchors as guided
from tests.models import test_multi_stage as multi_stage
from tests.models import test_resnet_variants as variants
from tests.models import test_rfcn as rfcn
from tests.models import test_segmentation_heads as pixels
from tests.models import test_simcc_head as simcc
from tests.models import test_topdown as topdown
from tests.models import test_two_stage as two_stage
from tests.models import test_views as dense
from tests.models import test_vit as vit
from tests.models.test_compile import THIN_HRNET
from tests.no_sync import NoSync
from tests.on_gpu import PretendGPU, is_there, put

PIXEL_LOSSES = (
    *('CrossEntropyLoss', 'FocalLoss', 'OhemCrossEntropy', 'DiceLoss', 'GeneralizedDiceLoss', 'TverskyLoss', 'FocalTverskyLoss'),
    'LovaszLoss',
)


def on_both(module: nn.Module | None, run: Callable[..., Any], *args: Any, waits: bool) -> tuple[Any, Any]:
    """Return what `run(*args)` gives on the CPU and, with all tensors of the module and the arguments there, on the GPU.

    Args:
        module: whose parameters and buffers are moved; None has none.
        run: see above.
        args: tensors, batches, and lists of them.
        waits: False: moreover, prove that it does not wait for the device.
    """
    torch.manual_seed(0)
    plain = run(*args)
    if module is not None:
        put(module)
    with PretendGPU():
        moved = [_moved(arg) for arg in args]
        torch.manual_seed(0)
        there = run(*moved)
    if not waits:  # from the second time on, when the tables of codecs are there
        with NoSync(), PretendGPU(waits=False):
            run(*moved)
    return plain, there


def _moved(value: Any) -> Any:
    if isinstance(value, Tensor | SampleBatch):
        return value.to('cuda', non_blocking=True)
    return [_moved(part) for part in value] if isinstance(value, list | tuple) else value


def assert_same(there: Any, plain: Any) -> None:
    """Compare tensors, NumPy arrays and what holds them."""
    if isinstance(plain, BaseDataElement):
        there, plain = dict(there.items()), dict(plain.items())
    if isinstance(plain, dict):
        assert there.keys() == plain.keys()
        there, plain = list(there.values()), list(plain.values())
    if isinstance(plain, list | tuple):
        assert len(there) == len(plain)
        for a, b in zip(there, plain):
            assert_same(a, b)
    elif isinstance(plain, Tensor):
        torch.testing.assert_close(there, plain, rtol=1e-4, atol=1e-4)
    elif isinstance(plain, np.ndarray):
        np.testing.assert_allclose(there, plain, rtol=1e-4, atol=1e-3)
    else:
        assert there == plain


# ------------------------------------------------------------------------------------------------------------------ detection
ROI_HEADS: dict[str, Callable[[], nn.Module]] = {
    'faster': boxes.build,
    'ohem': lambda: boxes.build(sampler=dict(type='OHEMSampler', num=16, pos_fraction=0.5)),
    'libra': lambda: boxes.build(
        sampler=dict(
            type='CombinedSampler',
            num=16,
            pos_fraction=0.5,
            pos_sampler=dict(type='InstanceBalancedPosSampler'),
            neg_sampler=dict(type='IoUBalancedNegSampler'),
        )
    ),
    'rfcn': rfcn.build,
    **cascade.BUILDERS,
}


@pytest.mark.parametrize('name', ROI_HEADS)
def test_heads_on_boxes(name: str) -> None:
    head, feats, proposals, samples = ROI_HEADS[name](), cascade.feats(), cascade.proposals(), cascade.batch()

    def learnt(feats: list[Tensor], proposals: list[Tensor], samples: SampleBatch) -> Any:
        losses = head.loss(feats, proposals, samples)
        total = sum(value for key, value in losses.items() if 'loss' in key)
        return losses, torch.autograd.grad(total, list(head.parameters()))

    for objects in (samples, cascade.batch([[], []], [[], []])):
        plain, there = on_both(head, learnt, feats, proposals, objects, waits=False)
        assert_same(there, plain)

    @torch.no_grad()
    def found(feats: list[Tensor], proposals: list[Tensor], samples: SampleBatch) -> Any:
        feats = head.extend(feats)
        kept = [head.suppress(candidates) for candidates in head.candidates(feats, proposals, samples)]
        masks = head.masks(feats, [k.boxes for k in kept], [k.labels for k in kept]) if head.with_mask else []
        return kept, masks

    plain, there = on_both(head.eval(), found, feats, proposals, samples, waits=True)
    assert len(plain[0][0].boxes) > 0
    assert_same(there, plain)


def test_heads_on_boxes_without_any() -> None:
    sampler = dict(type='RandomSampler', num=64, pos_fraction=0.25, add_gt_as_proposals=False)
    head, none = cascade.build(**cascade.with_masks(sampler=sampler)), [torch.zeros(0, 4)] * 2
    plain, there = on_both(head, head.loss, cascade.feats(), none, cascade.batch([[], []], [[], []]), waits=False)
    assert_same(there, plain)


@pytest.mark.parametrize(
    'layer',
    [
        dict(type='RoIAlign', output_size=2, aligned=False),
        dict(type='RoIPool', output_size=2),
        dict(type='DeformRoIPoolPack', output_size=2, output_channels=4),
        dict(type='ModulatedDeformRoIPoolPack', output_size=2, output_channels=4),
        dict(type='ContextAwareRoIPool', output_size=2),
    ],
    ids=lambda layer: layer['type'],
)
def test_features_of_boxes(layer: dict[str, Any]) -> None:
    cfg = dict(type='SingleRoIExtractor', roi_layer=layer, out_channels=4, featmap_strides=(4, 8), finest_scale=8)
    pool, rois = ROI_EXTRACTORS.build(cfg), join_rois(cascade.proposals())
    plain, there = on_both(pool, pool, cascade.feats(), rois, waits=False)
    assert_same(there, plain)


def test_proposals_of_guided_anchors() -> None:
    head, feats = guided.head(), [torch.randn(2, 8, 64 // s, 96 // s) for s in guided.STRIDES]
    head.init_weights()
    samples = det_batch([[[8.0, 8.0, 60.0, 50.0]], []], size=(96, 64), img_shapes=[(64, 96), (50, 80)])
    plain, there = on_both(head, lambda *args: head.loss(head(args[0]), args[1]), feats, samples, waits=False)
    assert_same(there, plain)
    run = torch.no_grad()(lambda *args: head.proposals(head(args[0]), args[1], training=False))
    plain, there = on_both(head.eval(), run, feats, samples, waits=True)
    assert len(plain[0].boxes) > 0
    assert_same(there, plain)


SUPPRESSIONS = {
    'hard': dict(type='HardNMS'),
    'soft linear': dict(type='SoftNMS'),
    'soft gaussian': dict(type='SoftNMS', method='gaussian'),
    'IoU-guided': dict(type='IoUGuidedNMS'),
    'weighted': dict(type='WeightedNMS'),
    'softer': dict(type='SofterNMS'),
    'adaptive': dict(type='AdaptiveNMS'),
    'adaptive linear': dict(type='AdaptiveNMS', method='linear'),
    'DIoU': dict(type='DIoUNMS'),
    'cluster': dict(type='ClusterNMS'),
    'matrix': dict(type='MatrixNMS'),
}


@pytest.mark.parametrize('num', [300, 0])
@pytest.mark.parametrize('with_labels', [False, True])
@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppressions(name: str, with_labels: bool, num: int) -> None:
    found, scores, extras = made_up_boxes(num)
    labels = (10 * scores).long() % 3 if with_labels else None
    nms = NMS.build(SUPPRESSIONS[name])
    names = list(extras)
    args = found, scores, labels, *extras.values()
    plain, there = on_both(None, lambda b, s, k, *e: nms(b, s, k, **dict(zip(names, e))), *args, waits=True)
    assert bool(len(plain.boxes)) == bool(num)
    assert_same(there, plain)


# ------------------------------------------------------------------------------------------------------------- whole networks
def detector_inputs() -> tuple[Tensor, SampleBatch]:
    plain = det_batch([[[8.0, 8.0, 40.0, 44.0], [30.0, 20.0, 60.0, 60.0]], []], labels=[[1, 0], []], size=(64, 64))
    fields = {name: getattr(plain, name) for name in plain.keys()}  # noqa: SIM118
    masks = torch.randint(0, 256, (2, 64, 8), dtype=torch.uint8)
    return torch.randn(2, 3, 64, 64), SampleBatch(fields | dict(masks=masks), plain.counts, plain.metainfo)


def crops_of_people() -> tuple[Tensor, SampleBatch]:
    data = MODELS.build(topdown.MODEL).data_preprocessor(topdown.crops(topdown.BOXES))
    return data['inputs'], data['data_samples']


def images_of_people() -> tuple[Tensor, SampleBatch]:
    data = MODELS.build(bottomup.MODEL).data_preprocessor(bottomup.images(bottomup.TWO, bottomup.NOBODY))
    return data['inputs'], data['data_samples']


def images_with_classes() -> tuple[Tensor, SampleBatch]:
    labels = torch.randint(0, 2, (2, 64, 48), dtype=torch.uint8)
    return torch.randn(2, 3, 64, 48), SampleBatch({}, [0, 0], [dict(img_path='') for _ in range(2)], maps=dict(gt_seg_map=labels))


VIEWS = dict(test_cfg=dict(scales=(1.0, 1.5), flip_test=True))
THIN = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)
DETECTORS = ('mask_rcnn', *dense.HEADS)
NETWORKS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    'mask_rcnn': (detector_inputs, two_stage.config(roi_args=two_stage.mask_parts(), **VIEWS)),
    **{
        name: (
            detector_inputs,
            dict(
                type='SingleStageDetector',
                meta=dict(classes=['a', 'b']),
                backbone=dict(THIN, out_indices=(1,)),
                bbox_head=dict(type=name, in_channels=16, nms=dense.NMS, **args)
                | ({} if name == 'CenterNetHead' else dict(score_thr=0)),
                **VIEWS,
            ),
        )
        for name, args in dense.HEADS.items()
    },
    **{
        f'topdown_{variant}': (
            crops_of_people,
            dict(
                topdown.MODEL,
                head=topdown.MODEL['head'] | dict(codec=dict(topdown.CODEC, variant=variant)),
                test_cfg=dict(flip_test=True, scales=(1, 0.5), shift_heatmap=variant != 'udp'),
            ),
        )
        for variant in ('msra', 'dark', 'udp')
    },
    'bottomup': (images_of_people, dict(bottomup.MODEL, test_cfg=dict(flip_test=True, scales=(1, 0.5)))),
    'segmentor': (
        images_with_classes,
        dict(
            type='EncoderDecoder',
            meta='person',
            backbone=dict(THIN, out_indices=(0, 1, 2, 3)),
            decode_head=dict(
                type='FCNHead',
                in_channels=64,
                channels=8,
                loss_decode=[dict(type='CrossEntropyLoss'), dict(type='DiceLoss'), dict(type='LovaszLoss')],
            ),
            test_cfg=dict(mode='slide', window_size=(32, 32), window_stride=(24, 24), scales=(1.0, 1.5), flip_test=True),
        ),
    ),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_networks(name: str) -> None:
    make_inputs, cfg = NETWORKS[name]
    inputs, samples = make_inputs()
    model = MODELS.build(cfg)
    model.init_weights()
    if name == 'CenterNetHead':
        nn.init.constant_(model.bbox_head.wh_head[2].bias, 4.0)  # cells: boxes that are not empty
    learns, finds = (lambda *args, mode=mode: model(*args, mode=mode) for mode in ('loss', 'predict'))
    plain, there = on_both(model, learns, inputs, samples, waits=name == 'mask_rcnn')  # which suppresses proposals
    assert_same(there, plain)
    assert all(is_there(value) for value in there.values())
    plain, there = on_both(model.eval(), finds, inputs, samples, waits=True)
    assert name not in DETECTORS or all(len(sample.pred_instances) > 0 for sample in plain)
    assert_same(there, plain)


# ---------------------------------------------------------------------------------------------------------- backbones and necks
CHANNELS = (4, 8, 16)
DCN = dict(dcn=dict(type='DCNv2'), stage_with_dcn=(False, True, True, True))
BACKBONES_OF_ALL_KINDS = {
    'resnet': dict(THIN, out_indices=(0, 1, 2, 3)),
    'deformable': dict(THIN, depth=50, **DCN),
    'cbam': dict(THIN, **variants.plugin('CBAM', ratio=4)),
    'botnet': dict(THIN, depth=50, **variants.plugin('BoTAttention', position='conv2', max_size=(16, 16))),
    'se': dict(THIN, type='SEResNet', base_channels=16),
    'hrnet': THIN_HRNET,
    'vit': dict(type='VisionTransformer', arch=vit.TINY, img_size=(96, 48)),
    'cspnext': dict(type='CSPNeXt', deepen_factor=0.2, widen_factor=0.125),
    'vgg': dict(type='VGG', depth=11, base_channels=8),
    'unet++': dict(type='UNetPlusPlus', base_channels=4, num_stages=3),
    'mobilenet': dict(type='MobileNetV2', widen_factor=0.1),
}


@pytest.mark.parametrize('name', BACKBONES_OF_ALL_KINDS)
def test_backbones(name: str) -> None:
    backbone = BACKBONES.build(BACKBONES_OF_ALL_KINDS[name])
    plain, there = on_both(backbone, backbone, torch.randn(2, 3, 64, 48), waits=False)
    assert_same(there, plain)


@pytest.mark.parametrize(
    'neck',
    [
        dict(type='FPN', in_channels=CHANNELS, out_channels=4, num_outs=4),
        dict(type='PAFPN', in_channels=CHANNELS, out_channels=4, num_outs=4),
        dict(type='HRFPN', in_channels=CHANNELS, out_channels=4, num_outs=3),
        dict(type='ASPPNeck', in_channels=CHANNELS, out_channels=4, dilations=(1, 2), in_index=1),
        dict(type='CTResNetNeck', in_channels=16, num_deconv_filters=(6,), num_deconv_kernels=(4,)),
        [
            dict(type='FPN', in_channels=CHANNELS, out_channels=4, num_outs=3),
            dict(type='BFP', in_channels=4, num_levels=3, refine_type='non_local'),
        ],
    ],
    ids=lambda neck: 'BFP' if isinstance(neck, list) else neck['type'],
)
def test_necks(neck: Any) -> None:
    built, maps = build_neck(neck), [torch.randn(2, c, s, s) for c, s in zip(CHANNELS, (16, 8, 4))]
    plain, there = on_both(built, built, maps, waits=False)
    assert_same(there, plain)


# ---------------------------------------------------------------------------------------------------------------- other heads
HEADS_OF_POSES: dict[str, Callable[[], tuple[nn.Module, Any, SampleBatch]]] = {
    **{kind: lambda kind=kind: (simcc.build(kind), (torch.rand(2, 8, 8, 6),), simcc.two_people()) for kind in simcc.KINDS},
    'AEHead': lambda: (ae.build(ae.PLAIN), ae.FEATS, ae.people()),
    'HigherAEHead': lambda: (ae.build(ae.HIGHER), ae.FEATS, ae.people()),
}


@pytest.mark.parametrize('name', HEADS_OF_POSES)
def test_heads_of_poses(name: str) -> None:
    head, feats, samples = HEADS_OF_POSES[name]()
    plain, there = on_both(head, head.loss, feats, samples, waits=False)
    assert_same(there, plain)
    plain, there = on_both(head.eval(), torch.no_grad()(lambda *f: head.decode(head(f))), *feats, waits=True)
    assert_same(there, plain)


@pytest.mark.parametrize('name', multi_stage.NAMES)
def test_networks_of_several_stages(name: str) -> None:
    model, inputs = MODELS.build(multi_stage.estimator(name)), torch.randn(2, 3, 64, 64)
    samples = multi_stage.samples(64 * torch.rand(2, 14, 2))
    plain, there = on_both(model, lambda *args: model(*args, mode='loss'), inputs, samples, waits=False)
    assert_same(there, plain)
    decode = torch.no_grad()(lambda x: model.head.decode(model.merge_passes(model(x), x)))
    plain, there = on_both(model.eval(), decode, inputs, waits=True)
    assert_same(there, plain)


@pytest.mark.parametrize('name', pixels.THIN)
def test_heads_of_pixels(name: str) -> None:
    head, feats, samples = pixels.build(name), pixels.feats(), pixels.samples()
    plain, there = on_both(head, head.loss, feats, samples, waits=False)
    assert_same(there, plain)
    plain, there = on_both(head.eval(), torch.no_grad()(lambda *f: head.predict(f, (64, 64))), *feats, waits=True)
    assert_same(there, plain)


@pytest.mark.parametrize('name', PIXEL_LOSSES)
def test_losses_of_pixels(name: str) -> None:
    loss = LOSSES.build(dict(type=name, class_weight=(0.5, 1.0, 2.0), ignore_index=255))
    labels = torch.randint(0, 3, (2, 6, 8))
    labels[:, 0] = 255
    plain, there = on_both(loss, loss, torch.randn(2, 3, 6, 8), labels, waits=False)
    assert_same(there, plain)
