"""Each seeded defect of a file of objects is found, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.datasets.check_detection import check_objects
from mmpose_lite.datasets.check_report import RULES, CheckReport
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.coco_file import read_coco
from tests.coco_folder import write_rotated
from tests.detection_folder import IDS, META, shape, shapes, write_shapes


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A folder without defects: the empty image 3 and the crowd have company."""
    annotations = [*shapes(), shape(6, 3, 'box', (4, 4, 30, 30))]
    return json.loads(write_shapes(tmp_path, annotations).read_text())


def check(content: dict[str, Any], folder: Path, **options: Any) -> CheckReport:
    path = folder / 'instances.json'
    path.write_text(json.dumps(content))
    options = dict(meta=ClassMeta.load(META), img_dir=folder / 'images', with_masks=True) | options
    return check_objects(read_coco(path), ann_file=path, **options)


def found(report: CheckReport) -> dict[str, tuple[int, ...]]:
    return {finding.code: finding.ids for finding in report.findings}


def test_a_clean_folder(content: dict, tmp_path: Path) -> None:
    report = check(content, tmp_path)
    assert found(report) == {}
    assert report.ok
    assert (report.num_images, report.num_instances, report.num_crowds) == (4, 5, 1)
    assert report.num_labelled == dict(box=3, disc=2)
    assert report.instances_per_image == dict(min=1, mean=1.25, max=2)
    assert report.box_sizes['p0'] == 12


def first(content: dict[str, Any], **changes: Any) -> None:
    content['annotations'][0].update(changes)


Seed = Callable[[dict, Path], object]
DEFECTS: dict[str, tuple[Seed, str, tuple[int, ...]]] = {
    'file missing': (lambda c, d: (d / 'images/3.png').unlink(), 'missing-image', (3,)),
    'file is a text': (lambda c, d: (d / 'images/2.png').write_text('none'), 'broken-image', (2,)),
    'size of another image': (lambda c, d: c['images'][2].update(width=51), 'image-size', (3,)),
    'two entries for one file': (
        lambda c, d: (c['images'][1].update(file_name='3.png', width=50, height=50), c['annotations'].pop(2)),
        'duplicate-file-name',
        (2, 3),
    ),
    'image without objects': (lambda c, d: c['annotations'].pop(), 'empty-image', (3,)),
    'two annotations of one id': (lambda c, d: first(c, id=2), 'duplicate-annotation-id', (2,)),
    'annotation of no image': (lambda c, d: first(c, image_id=77), 'unknown-image-id', (1,)),
    'annotation of no category': (lambda c, d: first(c, category_id=1), 'unknown-category-id', (1,)),
    'box without width': (lambda c, d: first(c, bbox=[5, 6, 0, 14]), 'degenerate-bbox', (1,)),
    'box with negative height': (lambda c, d: first(c, bbox=[5, 6, 20, -14]), 'degenerate-bbox', (1,)),
    'box not a number': (lambda c, d: first(c, bbox=[5, 6, float('nan'), 14]), 'degenerate-bbox', (1,)),
    'box of a text': (lambda c, d: first(c, bbox='5 6 20 14'), 'degenerate-bbox', (1,)),
    'box below a pixel': (lambda c, d: first(c, bbox=[5, 6, 0.5, 14]), 'degenerate-bbox', (1,)),
    'no box': (lambda c, d: c['annotations'][0].pop('bbox'), 'degenerate-bbox', (1,)),
    'mask of words': (lambda c, d: first(c, segmentation='none'), 'mask', (1,)),
    'mask of another size': (lambda c, d: first(c, segmentation=dict(size=[10, 10], counts=[20, 80])), 'mask', (1,)),
    'no mask': (lambda c, d: c['annotations'][0].pop('segmentation'), 'mask', (1,)),
    'empty mask': (lambda c, d: first(c, segmentation=[]), 'mask-empty', (1,)),
    'run lengths of nothing': (lambda c, d: first(c, segmentation=dict(size=[44, 60], counts=[2640])), 'mask-empty', (1,)),
    'mask of another object': (lambda c, d: first(c, segmentation=c['annotations'][1]['segmentation']), 'mask-off-bbox', (1,)),
    'categories renamed': (lambda c, d: c['categories'][0].update(name='Box'), 'classes', tuple(IDS.values())),
}


@pytest.mark.parametrize(('seed', 'code', 'ids'), DEFECTS.values(), ids=DEFECTS)
def test_a_defect(seed: Seed, code: str, ids: tuple[int, ...], content: dict, tmp_path: Path) -> None:
    seed(content, tmp_path)
    report = check(content, tmp_path)
    follow = {'classes': {'nothing-annotated', 'empty-image'}, 'image-size': {'mask'}, 'duplicate-file-name': {'empty-image'}}
    assert found(report)[code] == ids
    assert set(found(report)) - {code} <= follow.get(code, set())
    assert report.ok == (RULES[code].severity == 'warning')


def test_boxes_off_their_image_are_off_their_masks_too(content: dict, tmp_path: Path) -> None:
    first(content, bbox=[61, 6, 20, 14])
    assert found(check(content, tmp_path, with_masks=False)) == {'bbox-outside': (1,)}
    first(content, bbox=[50, 6, 20, 14])
    assert found(check(content, tmp_path, with_masks=False)) == {'bbox-beyond': (1,)}
    assert 'mask-off-bbox' in found(check(content, tmp_path))


def test_a_turned_file(tmp_path: Path, content: dict) -> None:
    import cv2

    pixels = cv2.imread(str(tmp_path / 'images' / '1.png'))
    cv2.imwrite(str(tmp_path / 'images' / '1.jpg'), pixels)
    write_rotated(tmp_path / 'images' / '1.jpg', 6)
    content['images'][0]['file_name'] = '1.jpg'
    assert found(check(content, tmp_path)) == {'image-rotated': (1,)}
    assert found(check(content, tmp_path, level='fast')) == {'image-rotated': (1,)}


def test_masks_only_when_they_are_used(content: dict, tmp_path: Path) -> None:
    first(content, segmentation='none')
    assert found(check(content, tmp_path, with_masks=False)) == {}


def test_other_categories_are_not_looked_at(content: dict, tmp_path: Path) -> None:
    first(content, bbox=[0, 0, 0, 0])
    report = check(content, tmp_path, meta=ClassMeta.load(dict(classes=['disc'])))
    assert found(report) == {'empty-image': (3, 4)}
    assert report.num_labelled == dict(disc=2)


def test_shares_of_the_image_are_no_px(content: dict, tmp_path: Path) -> None:
    for annotation in content['annotations']:
        annotation['bbox'] = [v / 64 for v in annotation['bbox']]
    report = check(content, tmp_path, with_masks=False)
    assert {finding.code: finding.ids for finding in report.errors} == {'relative': (1, 2, 3, 4, 5, 6)}


def test_only_crowds(content: dict, tmp_path: Path) -> None:
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1
    assert found(check(content, tmp_path))['nothing-annotated'] == (1, 2, 3, 4, 5, 6)


def test_fast_looks_into_some(content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmpose_lite.datasets.check_detection.FAST_SAMPLE', 2)  # the first and the last
    content['annotations'][2]['bbox'] = [0, 0, 0, 0]
    report = check(content, tmp_path, level='fast')
    assert found(report) == {}
    assert report.num_sampled == 2
    content['annotations'][0]['bbox'] = [0, 0, 0, 0]
    assert found(check(content, tmp_path, level='fast')) == {'degenerate-bbox': (1,)}
    assert found(check(content, tmp_path, level='full')) == {'degenerate-bbox': (1, 3)}
    with pytest.raises(ValueError, match="`level` must be 'full' or 'fast', got 'quick'"):
        check(content, tmp_path, level='quick')


def test_penn_fudan_has_no_defects(shared: Path) -> None:
    root = shared / 'data' / 'pennfudan'
    for split, people in (('train', 296), ('val', 127)):
        path = root / f'instances_{split}.json'
        report = check_objects(
            read_coco(path),
            ann_file=path,
            meta=ClassMeta.load('pedestrian'),
            img_dir=root / 'images',
            with_masks=True,
            level='fast',
        )
        assert found(report) == {}, report.table()
        assert report.num_labelled == dict(person=people)
        assert np.isfinite(list(report.box_sizes.values())).all()


def test_every_rule_of_objects_is_seeded() -> None:
    of_objects = {'degenerate-bbox', 'mask', 'mask-empty', 'mask-off-bbox', 'classes'}
    assert of_objects <= {code for _, code, _ in DEFECTS.values()}
