from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmpose_lite.models.backbones.cspnext import CSPNeXt
from mmpose_lite.registry import BACKBONES


def thin(**args: object) -> CSPNeXt:
    return BACKBONES.build(dict(type='CSPNeXt', deepen_factor=0.2, widen_factor=0.125, **args))


@pytest.mark.parametrize(('arch', 'last'), [('P5', (128,)), ('P6', (96, 128))])
def test_maps_have_the_stated_channels_and_strides(arch: str, last: tuple[int, ...]) -> None:
    stages = 4 if arch == 'P5' else 5
    model = thin(arch=arch, out_indices=range(stages + 1)).eval()
    assert model.out_channels == (8, 16, 32, 64, *last)
    assert model.strides == tuple(2 ** (i + 1) for i in range(stages + 1))
    outs = model(torch.rand(1, 3, 65, 64))  # 65: rounded up at every halving
    assert [tuple(o.shape) for o in outs] == [
        (1, c, -(-65 // s), 64 // s) for c, s in zip(model.out_channels, model.strides, strict=True)
    ]


@pytest.mark.parametrize(
    ('deepen', 'blocks'), [(0.167, [1, 1, 1, 1]), (0.33, [1, 2, 2, 1]), (0.67, [2, 4, 4, 2]), (1.0, [3, 6, 6, 3])]
)
def test_number_of_blocks(deepen: float, blocks: list[int]) -> None:
    model = CSPNeXt(deepen_factor=deepen, widen_factor=0.125)
    assert [len(getattr(model, f'stage{i}')[-1].blocks) for i in (1, 2, 3, 4)] == blocks


def test_without_channel_attention() -> None:
    assert not [key for key in thin(channel_attention=False).state_dict() if 'attention' in key]


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages_do_not_learn(frozen_stages: int) -> None:
    model = thin(frozen_stages=frozen_stages).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.rand(2, 3, 64, 64))[0].sum().backward() if frozen_stages < 4 else model(torch.rand(2, 3, 64, 64))
    frozen = tuple(f'{name}.' for name in ('stem', 'stage1', 'stage2', 'stage3', 'stage4')[: frozen_stages + 1])
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name
        if frozen_stages < 4:
            assert (parameter.grad is None) == name.startswith(frozen), name
    for name, buffer in model.named_buffers():
        if 'running' in name:
            assert torch.equal(buffer, before[name]) == name.startswith(frozen), name


def test_norm_eval_keeps_running_statistics() -> None:
    model = thin(norm_eval=True).train()
    before = model.stem[0].bn.running_mean.clone()
    model(torch.rand(2, 3, 64, 64))
    assert torch.equal(model.stem[0].bn.running_mean, before)
    assert model.stage4.training


def test_initial_values() -> None:
    model = CSPNeXt(deepen_factor=0.1, widen_factor=0.5)
    torch.nn.init.zeros_(model.stage3[0].conv.weight)
    model.init_weights()
    weight = model.stage3[0].conv.weight
    assert weight.std().item() == pytest.approx((1 / (3 * 128 * 9)) ** 0.5, rel=0.02)
    assert not model.stage4[-1].attention.fc.bias.any()


def test_pretrained_weights_are_loaded_by_init_weights(tmp_path: Path) -> None:
    source = thin()
    state: dict[str, Tensor] = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'pose.pth')
    model = thin(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'pose.pth'), prefix='backbone.'))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(arch='P7'), r"`arch` must be one of \['P5', 'P6'\], got 'P7'"),
        (dict(expand_ratio=0), 'must be positive, got 0.2, 0.125 and 0'),
        (dict(out_indices=(5,)), r'`out_indices` must be stages 0 \(the stem\) to 4, got \(5,\)'),
        (dict(frozen_stages=5), '`frozen_stages` must be -1 to 4, got 5'),
        (dict(init_cfg=dict(type='Normal')), '`init_cfg` must be dict'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thin(**args)
