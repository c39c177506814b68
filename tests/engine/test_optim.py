"""The optimizer wrappers against a step by hand."""

import pytest
import torch
from torch import nn

from mmpose_lite.engine import optim
from mmpose_lite.engine.optim import AutocastOptimWrapper, OptimWrapper
from mmpose_lite.errors import RunError
from mmpose_lite.registry import OPTIM_WRAPPERS


def line() -> nn.Linear:
    """Return y = 3 a + 4 b, whose gradient at the input (3, 4) has length 5."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[3.0, 4.0]])
    return layer


def step(wrapper: OptimWrapper, layer: nn.Linear, times: int = 1) -> torch.Tensor:
    for _ in range(times):
        wrapper.update_params(layer(torch.tensor([3.0, 4.0])).sum())
    return layer.weight.data[0]


def test_step_without_clipping() -> None:
    layer = line()
    wrapper = OPTIM_WRAPPERS.build(dict(type='OptimWrapper', optimizer=torch.optim.SGD(layer.parameters(), lr=1.0)))
    assert type(wrapper) is OptimWrapper
    assert wrapper.grad_norm is None
    assert step(wrapper, layer).tolist() == [0.0, 0.0]
    assert wrapper.grad_norm.item() == pytest.approx(5)


def test_clipping_by_the_norm() -> None:
    """The norm told is that before clipping."""
    layer = line()
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), clip_grad=dict(max_norm=1.0))
    assert step(wrapper, layer).tolist() == pytest.approx([3 - 0.6, 4 - 0.8])
    assert isinstance(wrapper.grad_norm, torch.Tensor)
    assert wrapper.grad_norm.item() == pytest.approx(5)


def test_clipping_by_the_value() -> None:
    layer = line()
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), clip_grad=dict(type='value', clip_value=2.0))
    assert step(wrapper, layer).tolist() == [1.0, 2.0]
    assert wrapper.grad_norm.item() == pytest.approx(5)


def test_accumulation_steps_every_second_time() -> None:
    layer = line()
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), accumulative_counts=2)
    wrapper.initialize_count_status(layer, 0, 4)
    assert step(wrapper, layer).tolist() == [3.0, 4.0]
    assert wrapper.grad_norm is None
    assert step(wrapper, layer).tolist() == [0.0, 0.0]  # the mean of the two gradients
    assert wrapper.grad_norm.item() == pytest.approx(5)


def test_a_learning_rate_beyond_float32_is_told() -> None:
    layer = line()
    wrapper = OptimWrapper(torch.optim.Adam(layer.parameters(), lr=1e300))
    with pytest.raises(RunError, match=r"learning rate {'lr': 1e\+300} .*`optim_wrapper.optimizer.lr` to a smaller one"):
        step(wrapper, layer)


def test_a_parameter_without_a_gradient_is_left_out() -> None:
    layer = line()
    unused = nn.Parameter(torch.ones(3))
    wrapper = OptimWrapper(torch.optim.SGD([layer.weight, unused], lr=1.0), clip_grad=dict(max_norm=10))
    step(wrapper, layer)
    assert wrapper.grad_norm.item() == pytest.approx(5)
    assert unused.tolist() == [1, 1, 1]


def test_autocast_computes_in_bfloat16_and_keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, 'computes_bfloat16', lambda device: True)  # whatever this machine has
    layer = line()
    wrapper = AutocastOptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0))
    with wrapper.optim_context(layer):
        out = layer(torch.tensor([3.0, 4.0]))
    assert out.dtype == torch.bfloat16
    assert layer(torch.tensor([3.0, 4.0])).dtype == torch.float32
    wrapper.update_params(out.sum())
    assert layer.weight.dtype == torch.float32
    assert layer.weight.tolist() == [[0.0, 0.0]]


def test_a_device_that_only_emulates_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, 'computes_bfloat16', lambda device: False)
    layer = line()
    with AutocastOptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0)).optim_context(layer):
        assert layer(torch.tensor([3.0, 4.0])).dtype == torch.float32


def test_a_misspelt_argument_is_named() -> None:
    with pytest.raises(TypeError, match=r'AutocastOptimWrapper has no argument `clipgrad`; did you mean `clip_grad`'):
        OPTIM_WRAPPERS.build(dict(type='AutocastOptimWrapper', optimizer=None, clipgrad=1))
