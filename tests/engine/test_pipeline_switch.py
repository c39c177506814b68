import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.dataset import Compose
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from mmpose_lite.engine.hooks import PipelineSwitchHook
from mmpose_lite.registry import HOOKS
from tests.tiny import rows, train, write_config


class Numbers(Dataset):
    """Three samples whose pipeline says which stage they come from."""

    def __init__(self) -> None:
        self.pipeline = Compose([old])

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> str:
        return self.pipeline(index)


def old(index: int) -> str:
    return f'old {index}'


def new(index: int) -> str:
    return f'new {index}'


def stages(hook: PipelineSwitchHook, dataset: Any, *, start: int = 0, epochs: int = 4, workers: int = 0) -> list[str]:
    """Return the stage of each epoch, read as a training loop reads; all samples of an epoch must be of one stage."""
    loader = DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, batch_size=1)
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    runner = SimpleNamespace(train_loop=loop, train_dataloader=loader, max_epochs=epochs, logger=logging.getLogger('test'))
    hook.before_train(runner)
    seen = []
    for runner.epoch in range(start, epochs):
        hook.before_train_epoch(runner)
        found = {text.split()[0] for (text,) in loader}
        assert len(found) == 1
        seen.append(found.pop())
    loader._iterator = None
    return seen


@pytest.mark.parametrize('workers', [0, 2])
def test_switch(workers: int) -> None:
    """Workers that live over epochs must not keep the old pipeline."""
    assert stages(PipelineSwitchHook(2, [new]), Numbers(), workers=workers) == ['old', 'old', 'new', 'new']


def test_from_the_end_and_resumed() -> None:
    assert stages(PipelineSwitchHook(-1, [new]), Numbers()) == ['old'] * 3 + ['new']
    assert stages(PipelineSwitchHook(-30, [new]), Numbers()) == ['new'] * 4  # the run is shorter
    assert stages(PipelineSwitchHook(2, [new]), Numbers(), start=3) == ['new']
    assert stages(PipelineSwitchHook(9, [new]), Numbers()) == ['old'] * 4


def test_joined_datasets() -> None:
    joined = ConcatDataset([Numbers(), ConcatDataset([Numbers()])])
    assert stages(PipelineSwitchHook(1, [new]), joined, epochs=2) == ['old', 'new']


def test_a_run_and_its_resumption(tmp_path: Path) -> None:
    hook = "dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=box + crop)"
    config = write_config(tmp_path, f'custom_hooks = [{hook}]')
    for epochs, options in ((2, ()), (3, ('--resume',))):
        assert train(config, tmp_path / 'run', *options, train_cfg__max_epochs=epochs) == 0
    logs = ''.join(path.read_text() for path in sorted((tmp_path / 'run').rglob('*.log')))
    for epoch in (2, 3):  # the resumed run starts in the third, past the switch
        assert logs.count(f'the training data has its new pipeline from epoch {epoch} on') == 1
    assert len(rows(tmp_path / 'run')) == 9


def test_errors() -> None:
    with pytest.raises(ValueError, match='`switch_pipeline` must be a list of transforms, got none'):
        HOOKS.build(dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=[]))
    with pytest.raises(KeyError, match='TopdownAfine'):
        HOOKS.build(dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=[dict(type='TopdownAfine')]))
    hook = PipelineSwitchHook(1, [new])
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    with pytest.raises(ValueError, match=r'`train_cfg\.type` must be EpochBasedTrainLoop'):
        hook.before_train(SimpleNamespace(train_loop=loop))
    with pytest.raises(ValueError, match='list has no `pipeline` to switch'):
        stages(hook, [1, 2])
