"""Training by iterations: where it starts, how it ends, when it evaluates."""

from pathlib import Path

import pytest
import torch

from mmpose_lite.engine.loops import IterBasedTrainLoop, TestLoop, ValLoop
from mmpose_lite.engine.runner import Runner
from mmpose_lite.errors import ConfigError
from tests.tiny import make_runner, rows, write_config

ITERATIONS = """
train_dataloader.update(sampler=dict(type='InfiniteSampler'))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=5, val_begin=2, val_interval=2)
param_scheduler = []
default_hooks.update(checkpoint=dict(by_epoch=False))
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('loops'), ITERATIONS)


def seen(runner: Runner, skip: int) -> list[int]:
    """Return the indices that 4 draws of the sampler give after `skip` draws."""
    sampler = runner.train_loop.dataloader.sampler
    sampler.skip(skip)
    draws = iter(sampler)
    return [int(next(draws)) for _ in range(4)]


def test_iterations_and_evaluations(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """More iterations than a round has batches; an evaluation every two, and one at the end."""
    runner = make_runner(config, tmp_path)
    assert isinstance(runner.train_loop, IterBasedTrainLoop)
    runner.train()
    assert [row['iter'] for row in rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert [row['iter'] for row in rows(tmp_path, 'val')] == [2, 4, 5]
    assert 'Iter(train) [2/5]' in ''.join(capfd.readouterr())  # not in epochs, which there are none of


def test_the_sampler_starts_in_the_middle(config: Path, tmp_path: Path) -> None:
    runner = make_runner(config, tmp_path)
    assert seen(runner, 2) == [*seen(runner, 0)[2:], *seen(runner, 4)[:2]]


def test_building_the_loop_reads_nothing(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine's starts its workers on the first batches, which a resumed run does not want."""
    count = tmp_path / 'reads'
    monkeypatch.setenv('COUNTED_PEOPLE', str(count))
    runner = make_runner(config, tmp_path, train_dataloader__dataset__type='CountedPeopleDataset')
    assert runner.train_loop.iter == 0
    assert not count.exists()


def test_dynamic_intervals(config: Path, tmp_path: Path) -> None:
    runner = make_runner(config, tmp_path, train_cfg=dict(val_interval=4, dynamic_intervals=[(5, 1)], max_iters=6))
    runner.train()
    assert [row['iter'] for row in rows(tmp_path, 'val')] == [4, 5, 6]


def test_losses_in_evaluation_are_means_over_images(config: Path, tmp_path: Path) -> None:
    """5 images in batches of 2, 2 and 1 give the loss of one batch of 5: the last image counts as much as the others."""
    found = []
    for size in (2, 5):
        runner = make_runner(config, tmp_path, val_dataloader__batch_size=size, model__test_cfg=dict(with_loss=True))
        torch.manual_seed(0)
        runner.model.init_weights()
        found.append(runner.val()['val_loss'])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] > 0


def test_a_loop_without_a_type_is_ours(config: Path, tmp_path: Path) -> None:
    """mmengine takes its own then."""
    runner = make_runner(config, tmp_path)
    built = [
        runner.build_train_loop(dict(by_epoch=False, max_iters=3)),
        runner.build_val_loop(dict()),
        runner.build_test_loop(dict(amp=True)),
    ]
    assert [type(loop) for loop in built] == [IterBasedTrainLoop, ValLoop, TestLoop]
    assert built[2].amp


def test_an_interval_of_no_epochs_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'`train_cfg\.val_interval`: must be 1 or more, got 0'):
        make_runner(config, tmp_path, train_cfg__val_interval=0).train()


def test_a_sampler_that_ends_is_refused(config: Path, tmp_path: Path) -> None:
    runner = make_runner(config, tmp_path, train_dataloader__sampler__type='DefaultSampler')
    with pytest.raises(ConfigError, match=r'`train_dataloader\.sampler` must be of type InfiniteSampler, .* got DefaultSampler'):
        runner.train()
