"""What is drawn when does not depend on workers, ranks or interruptions; and reading does not fill the memory."""

import json
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmpose_lite.datasets import sampling
from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.sampling import DefaultSampler, Draw, InfiniteSampler, generator_for
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import DATA_SAMPLERS, DATASETS
from tests.coco_folder import META, person, write_coco
from tests.detection_folder import META as SHAPES
from tests.detection_folder import shape, write_shapes

PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomHalfBody', min_total_keypoints=1, min_upper_keypoints=1),
    dict(type='RandomBBoxTransform'),
    dict(type='PhotometricDistortion'),
    dict(type='TopdownAffine', input_size=(24, 32)),
    dict(type='PackPoseInputs'),
]


def as_rank(rank: int, world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, 'get_dist_info', lambda: (rank, world_size))


@pytest.fixture
def dataset_cfg(tmp_path: Path) -> dict:
    ann_file = write_coco(tmp_path, [person(i, 1 + i % 4) for i in range(1, 12)])
    return dict(type='CocoKeypointDataset', ann_file=ann_file.name, data_root=str(tmp_path), meta=META, pipeline=PIPELINE)


def facts(draws: list[int]) -> list[tuple[int, int, int]]:
    return [(int(d), d.seed, d.round) for d in draws]


def test_a_draw_is_an_index_that_crosses_to_a_worker() -> None:
    draw = Draw(5, seed=3, round_=2)
    assert list(range(10))[draw] == 5
    copy = pickle.loads(pickle.dumps(draw))
    assert (copy, copy.seed, copy.round) == (5, 3, 2)
    assert facts([draw.at(1)]) == [(1, 3, 2)]


def test_random_numbers_depend_on_seed_round_and_index_only() -> None:
    numbers = {generator_for(Draw(i, s, r)).integers(1 << 60) for i in range(3) for s in range(3) for r in range(3)}
    assert len(numbers) == 27
    assert generator_for(Draw(5, 3, 2)).random() == np.random.default_rng((3, 2, 5)).random()
    assert generator_for(4).random() == generator_for(4).random()


@pytest.mark.parametrize('size', [1, 7, 12])
@pytest.mark.parametrize('world_size', [1, 2, 3])
@pytest.mark.parametrize('round_up', [True, False])
def test_an_epoch_deals_every_sample_out_once(
    size: int, world_size: int, round_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt = []
    for rank in range(world_size):
        as_rank(rank, world_size, monkeypatch)
        sampler = DefaultSampler(range(size), seed=1, round_up=round_up)
        dealt.append(list(sampler))
        assert len(sampler) == len(dealt[-1])
    everything = [i for indices in dealt for i in indices]
    assert set(everything) == set(range(size))
    if round_up:
        assert {len(indices) for indices in dealt} == {-(-size // world_size)}
    else:
        assert len(everything) == size


def test_order_changes_with_epoch_and_seed() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = DATA_SAMPLERS.build(dict(type='DefaultSampler'), dataset=range(50), seed=seed)
        sampler.set_epoch(epoch)
        draws = list(sampler)
        assert {(d.seed, d.round) for d in draws} == {(seed, epoch)}
        return [int(d) for d in draws]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert sorted(order(0, 0)) == list(range(50))


def test_evaluation_reads_in_order_with_the_same_numbers_always() -> None:
    sampler = DATA_SAMPLERS.build(dict(type='DefaultSampler', shuffle=False), dataset=range(5))
    sampler.set_epoch(3)
    assert list(sampler) == [0, 1, 2, 3, 4]
    assert not any(isinstance(i, Draw) for i in sampler)


@pytest.mark.parametrize('sampler_type', [DefaultSampler, InfiniteSampler])
def test_without_a_seed_all_ranks_agree_on_one(sampler_type: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, 'sync_random_seed', lambda: 1234)
    assert sampler_type(range(5)).seed == 1234
    assert sampler_type(range(5), seed=0).seed == 0


def test_rounds_without_end() -> None:
    draws = list(islice(InfiniteSampler(range(5), seed=2), 17))
    assert [d.round for d in draws] == [i // 5 for i in range(17)]
    for start in (0, 5, 10):
        assert sorted(draws[start : start + 5]) == list(range(5))
    assert draws[:5] != draws[5:10]
    ordered = InfiniteSampler(range(3), shuffle=False, seed=0)
    assert list(islice(ordered, 7)) == [0, 1, 2, 0, 1, 2, 0]
    assert len(ordered) == 3


@pytest.mark.parametrize('world_size', [1, 2, 3])
@pytest.mark.parametrize('skipped', [0, 1, 4, 5, 13])
def test_a_resumed_run_goes_on_where_it_stopped(world_size: int, skipped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in range(world_size):
        as_rank(rank, world_size, monkeypatch)
        unbroken = list(islice(InfiniteSampler(range(5), seed=2), skipped + 9))
        resumed = DATA_SAMPLERS.build(dict(type='InfiniteSampler'), dataset=range(5), seed=2)
        resumed.skip(skipped)
        assert facts(list(islice(resumed, 9))) == facts(unbroken[skipped:])


def test_ranks_take_turns_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = facts(list(islice(InfiniteSampler(range(5), seed=2), 12)))
    for rank in (0, 1):
        as_rank(rank, 2, monkeypatch)
        assert facts(list(islice(InfiniteSampler(range(5), seed=2), 6))) == alone[rank::2]


def read(cfg: dict, *, num_workers: int = 0, epoch: int = 0) -> dict[int, tuple]:
    """Return what an epoch gives of each annotation."""
    dataset = DATASETS.build(cfg)
    sampler = DefaultSampler(dataset, seed=5)
    sampler.set_epoch(epoch)
    seen = {}
    for batch in DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=num_workers, collate_fn=pose_collate):
        for pixels, sample in zip(batch['inputs'], batch['data_samples']):
            seen[sample.ann_id] = (pixels.numpy().tobytes(), sample.gt_instances.keypoints_input.tobytes(), sample.flip)
    return seen


def test_the_same_samples_for_any_number_of_workers_and_ranks(dataset_cfg: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = read(dataset_cfg)
    assert len(alone) == 11
    assert len({pixels for pixels, _, _ in alone.values()}) == 11
    for num_workers in (1, 2):
        assert read(dataset_cfg, num_workers=num_workers) == alone
    dealt = []
    for rank in (0, 1):
        as_rank(rank, 2, monkeypatch)
        dealt.append(read(dataset_cfg))
    assert {**dealt[0], **dealt[1]} == alone
    assert len(dealt[0]) == len(dealt[1]) == 6


def test_every_epoch_shows_other_versions(dataset_cfg: dict) -> None:
    first, second = read(dataset_cfg), read(dataset_cfg, epoch=1)
    assert first.keys() == second.keys()
    assert all(first[i] != second[i] for i in first)


def test_joined_datasets(dataset_cfg: dict) -> None:
    part = {**dataset_cfg, 'indices': 3}
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=[part, dict(type='ConcatDataset', datasets=[dataset_cfg, part])]))
    assert len(joined) == 3 + 11 + 3
    assert [joined[i]['metainfo']['ann_id'] for i in (0, 2, 3, 13, 14, 16, -1)] == [1, 3, 1, 11, 1, 3, 3]
    assert joined.metainfo['keypoint_meta'].keypoints == tuple(META['keypoints'])
    alone = DATASETS.build(dataset_cfg)[Draw(4, 1, 2)]
    np.testing.assert_array_equal(joined[Draw(7, 1, 2)]['inputs'], alone['inputs'])  # the draw's numbers reach the part
    with pytest.raises(IndexError):
        joined[17]


def test_a_repeated_dataset_comes_with_other_numbers_each_time(dataset_cfg: dict) -> None:
    part = {**dataset_cfg, 'indices': 3}
    repeated = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=part))
    assert len(repeated) == 6
    assert repeated.metainfo['keypoint_meta'].keypoints == tuple(META['keypoints'])
    assert [repeated[i]['metainfo']['ann_id'] for i in (0, 2, 3, 5, -1)] == [1, 3, 1, 3, 3]
    shown = [repeated[Draw(index, 1, round_)]['inputs'].tobytes() for round_ in range(2) for index in (1, 4)]
    assert len(set(shown)) == 4
    assert shown[3] == DATASETS.build(part)[Draw(1, 1, 3)]['inputs'].tobytes()
    with pytest.raises(IndexError):
        repeated[6]
    with pytest.raises(ValueError, match='RepeatDataset: `times` must be 1 or more, got 0'):
        DATASETS.build(dict(type='RepeatDataset', times=0, dataset=part))


def test_rare_classes_come_more_often(tmp_path: Path) -> None:
    annotations = [shape(i, i, 'box', (4, 4, 20, 20)) for i in range(1, 5)]
    annotations += [shape(5, 3, 'disc', (9, 9, 9, 9)), shape(6, 2, 'disc', (9, 9, 9, 9), iscrowd=1)]
    write_shapes(tmp_path, annotations)
    inner = dict(type='CocoDetectionDataset', ann_file='instances.json', data_root=str(tmp_path), meta=SHAPES)
    balanced = DATASETS.build(dict(type='ClassBalancedDataset', dataset=inner, oversample_thr=0.9))
    assert [balanced[i]['img_id'] for i in range(len(balanced))] == [1, 2, 3, 3, 4]  # sqrt(0.9 / 0.25) = 1.9 for discs
    assert [balanced.get_data_info(i)['img_id'] for i in (3, -1)] == [3, 4]
    assert balanced.metainfo['class_meta'].classes == ('box', 'disc')
    numbers = [balanced[Draw(index, 5, round_)]['rng'].random() for round_ in (0, 1) for index in (2, 3)]
    assert len(set(numbers)) == 4
    assert numbers[3] == generator_for(Draw(2, 5, 3)).random()
    rarer = DATASETS.build(dict(type='ClassBalancedDataset', dataset=inner, oversample_thr=0.2))
    assert len(rarer) == 4
    with pytest.raises(ValueError, match=r'`oversample_thr` must be in \(0, 1\], got 0'):
        DATASETS.build(dict(type='ClassBalancedDataset', dataset=inner, oversample_thr=0))


def test_balancing_needs_classes(dataset_cfg: dict) -> None:
    with pytest.raises(ValueError, match='`dataset` must have objects with `labels`, got CocoKeypointDataset'):
        DATASETS.build(dict(type='ClassBalancedDataset', dataset=dataset_cfg, oversample_thr=0.1))


def test_what_a_step_leaves_out_is_replaced_by_the_draws_numbers(dataset_cfg: dict) -> None:
    def others(results: dict) -> dict | None:
        return None if results['ann_id'] in (1, 2, 3) else results

    dataset = DATASETS.build({**dataset_cfg, 'pipeline': [others]})

    def shown(round_: int) -> list[int]:
        np.random.seed(round_)  # noqa: NPY002  the global state, which differs from worker to worker, must not matter
        return [dataset[Draw(index, 1, round_ // 2)]['ann_id'] for index in range(4)]

    assert shown(0) == shown(1) != shown(2)
    assert shown(0)[3] == 4
    assert min(shown(0)) > 3
    evaluated = DATASETS.build({**dataset_cfg, 'pipeline': [others], 'test_mode': True})
    with pytest.raises(ConfigError, match=r'the pipeline leaves out .*2\.png; an evaluation needs every sample'):
        evaluated[0]
    with pytest.raises(ConfigError, match='and whatever else was tried'):
        DATASETS.build({**dataset_cfg, 'pipeline': [lambda results: None]})[0]


def test_wrong_joins(dataset_cfg: dict, tmp_path: Path) -> None:
    other = {**dataset_cfg, 'meta': dict(keypoints=['a', 'b', 'c'])}
    with pytest.raises(ValueError, match=r'dataset 1 has other keypoints \(3\) than dataset 0 \(3\)'):
        DATASETS.build(dict(type='ConcatDataset', datasets=[dataset_cfg, other]))
    with pytest.raises(ValueError, match='`datasets` must name at least one dataset, got none'):
        DATASETS.build(dict(type='ConcatDataset', datasets=[]))


def id_of(results: dict) -> int:
    return results['ann_id']


def private_megabytes(pid: int) -> float:
    """Return the memory that a process shares with no other one."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(('Private_Clean', 'Private_Dirty'))) / 1024


@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').exists(), reason='no /proc/PID/smaps_rollup on this system')
def test_the_memory_of_workers_stays_flat(tmp_path: Path) -> None:
    """Plain Python objects would be copied page by page as their reference counts change: 12 MB for each worker here."""
    num_people = 20_000
    content = dict(images=[dict(id=0, file_name='0.png')], categories=[], annotations=[person(i, 0) for i in range(num_people)])
    (tmp_path / 'people.json').write_text(json.dumps(content))
    dataset = DATASETS.build(
        dict(type='CocoKeypointDataset', ann_file=str(tmp_path / 'people.json'), meta=META, pipeline=[id_of])
    )
    sampler = DefaultSampler(dataset, seed=0)
    loader = DataLoader(dataset, batch_size=50, sampler=sampler, num_workers=2, persistent_workers=True)
    history = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = iter(loader)
        seen = len(next(batches))
        workers = [worker.pid for worker in batches._workers]
        history.append([private_megabytes(pid) for pid in workers])
        seen += sum(len(batch) for batch in batches)
        assert seen == num_people
    history.append([private_megabytes(pid) for pid in workers])
    growth = np.subtract(history[-1], history[0])
    assert growth.max() < 5, history  # MB


class Sized:
    """Images of which only the sizes (w, h) matter."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def get_data_info(self, index: int) -> dict:
        return dict(width=self.sizes[index][0], height=self.sizes[index][1])


@pytest.mark.parametrize('drop_last', [False, True])
def test_batches_of_one_orientation(drop_last: bool) -> None:
    rng = np.random.default_rng(0)
    data = Sized([tuple(rng.permutation([40, 60]).tolist()) for _ in range(23)])
    sampler = DATA_SAMPLERS.build(dict(type='DefaultSampler', dataset=data, seed=4))
    grouped = DATA_SAMPLERS.build(dict(type='AspectRatioBatchSampler'), sampler=sampler, batch_size=4, drop_last=drop_last)
    batches = list(grouped)
    assert len(batches) == len(grouped) == (5 if drop_last else 6)
    assert all(isinstance(index, Draw) and index.seed == 4 for batch in batches for index in batch)
    drawn = [int(index) for batch in batches for index in batch]
    assert len(set(drawn)) == len(drawn) == (20 if drop_last else 23)
    mixed = [batch for batch in batches if len({data.sizes[i][0] > data.sizes[i][1] for i in batch}) > 1]
    assert len(mixed) <= 1, 'only what is left at the end may be mixed'
    assert all(len(batch) == 4 for batch in batches[:-1])
    sampler.set_epoch(1)
    assert list(grouped) != batches


def test_batches_of_images_of_unknown_size() -> None:
    data = Sized([(1, 1)] * 5)
    data.get_data_info = lambda index: {}
    grouped = DATA_SAMPLERS.build(dict(type='AspectRatioBatchSampler', sampler=DefaultSampler(data, shuffle=False), batch_size=2))
    assert list(grouped) == [[0, 1], [2, 3], [4]]


def test_what_cannot_be_grouped() -> None:
    for sampler, batch_size in ((InfiniteSampler(range(4)), 2), (DefaultSampler(range(4)), 0)):
        with pytest.raises(ValueError, match=r'`sampler` must be a DefaultSampler, .* got (Infinite|Default)Sampler and'):
            DATA_SAMPLERS.build(dict(type='AspectRatioBatchSampler', sampler=sampler, batch_size=batch_size))
