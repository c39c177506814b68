"""Every parameter scheduler of mmengine goes on from its state as if it had never stopped."""

from typing import Any

import mmengine
import pytest
import torch

from mmpose_lite.engine.schedulers import resume_scheduler, scheduler_state
from mmpose_lite.registry import PARAM_SCHEDULERS

STEPS = 10
# One form of each kind; 'LR', 'Momentum' and 'ParamScheduler' are the same for the value of another name.
ARGUMENTS: dict[str, dict[str, Any]] = {
    'Constant': dict(factor=0.5, begin=2, end=6),
    'CosineAnnealing': dict(T_max=8, begin=1),
    'CosineRestart': dict(periods=[4, 6], restart_weights=[1.0, 0.5], eta_min=0.0),
    'Exponential': dict(gamma=0.9, end=7),
    'Linear': dict(start_factor=0.1, begin=1, end=6),
    'MultiStep': dict(milestones=[3, 5], gamma=0.1),
    'OneCycle': dict(eta_max=1.0, total_steps=STEPS + 1),
    'Poly': dict(power=0.9, eta_min=0.001, end=8),
    'Step': dict(step_size=3),
    'ReduceOnPlateau': dict(monitor='loss', patience=1, cooldown=1),
}
LOSSES = [5.0, 4.0, 4.5, 4.6, 4.7, 3.0, 3.5, 3.6, 3.7, 3.8]  # gets worse twice for longer than the patience


def build(kind: str, **changes: Any) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.5)
    return optimizer, PARAM_SCHEDULERS.build(dict(type=f'{kind}LR', **{**ARGUMENTS[kind], **changes}), optimizer=optimizer)


def go_on(optimizer: torch.optim.Optimizer, scheduler: Any, steps: range) -> list[float]:
    """Return the learning rate of each step."""
    values = []
    for step in steps:
        values.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
        if 'Plateau' in type(scheduler).__name__:
            scheduler.step(dict(loss=LOSSES[step]))
    return values


def resumed(kind: str, at: int, *, short: dict[str, Any] | None = None, **changes: Any) -> list[float]:
    """Return the learning rates of a run that stops after `at` steps, is built anew, and goes on; `short`: its first config."""
    optimizer, scheduler = build(kind, **(short or changes))
    first = go_on(optimizer, scheduler, range(at))
    groups, state = optimizer.state_dict(), scheduler_state(scheduler)
    optimizer, scheduler = build(kind, **changes)
    optimizer.load_state_dict(groups)
    resume_scheduler(scheduler, state)
    return first + go_on(optimizer, scheduler, range(at, STEPS))


def test_no_kind_is_left_out() -> None:
    kinds = {name for name in PARAM_SCHEDULERS.names() if name.endswith('LR')}
    assert kinds == {f'{kind}LR' for kind in ARGUMENTS}, f'mmengine {mmengine.__version__} has other schedulers: extend ARGUMENTS'


@pytest.mark.parametrize('kind', ARGUMENTS)
def test_stopped_anywhere_it_goes_on(kind: str) -> None:
    whole = go_on(*build(kind), range(STEPS))
    assert len(set(whole)) > 1
    for at in range(1, STEPS):
        assert resumed(kind, at) == whole, f'after {at} steps, with mmengine {mmengine.__version__}'


@pytest.mark.parametrize('kind', ['CosineAnnealing', 'Exponential', 'MultiStep', 'Step'])
def test_a_later_end_is_a_longer_run(kind: str) -> None:
    """The first run stopped at its `end`, where the scheduler stops a step before the training does."""
    whole = go_on(*build(kind, end=9), range(STEPS))
    assert resumed(kind, 4, short=dict(end=4), end=9) == whole, f'with mmengine {mmengine.__version__}'


def test_the_state_holds_no_functions() -> None:
    _, scheduler = build('OneCycle')
    assert not [key for key, value in scheduler_state(scheduler).items() if callable(value)]
    assert scheduler_state(scheduler)['last_step'] == 0
