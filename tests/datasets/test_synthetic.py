"""Synthetic people: what COCO's tools read, exact labels, and a folder that is written once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from pycocotools.coco import COCO

from mmpose_lite.datasets import synthetic, synthetic_figure
from mmpose_lite.datasets.synthetic import render_people, render_scene
from mmpose_lite.datasets.synthetic_figure import PARTS, Canvas, Figure, hull_of_discs
from mmpose_lite.structures import KeypointMeta

META = KeypointMeta.load('coco17')
K = META.keypoints.index
SMALL = dict(num_train=24, num_val=4, image_size=(160, 128), seed=3)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_people(tmp_path_factory.mktemp('synthetic') / 'people', num_workers=0, **SMALL)


@pytest.fixture(scope='module')
def coco(folder: Path) -> COCO:
    return COCO(str(folder / 'annotations' / 'person_keypoints_train.json'))


def keypoints_of(ann: dict) -> np.ndarray:
    return np.array(ann['keypoints'], dtype=float).reshape(-1, 3)


def sample_figure(seed: int, *, yaw: float, monkeypatch: pytest.MonkeyPatch) -> Figure:
    monkeypatch.setattr(synthetic_figure, '_sample_yaw', lambda rng: yaw)
    return Figure.sample(np.random.default_rng(seed)).placed(np.array([150.0, 150.0]), 160.0)


def annotate_alone(figure: Figure, canvas: Canvas) -> np.ndarray:
    figure.draw(canvas, 1)
    person = synthetic._annotate(canvas.labels, 0, figure, 1)
    assert person is not None
    return keypoints_of(person)


def test_images_and_categories(folder: Path, coco: COCO) -> None:
    assert len(coco.imgs) == 24
    for image in coco.imgs.values():
        pixels = cv2.imread(str(folder / 'images' / 'train' / image['file_name']))
        assert pixels.shape == (image['height'], image['width'], 3) == (128, 160, 3)
    category = coco.cats[1]
    assert category['keypoints'] == list(META.keypoints)
    assert [(a - 1, b - 1) for a, b in category['skeleton']] == list(META.limbs)
    assert len(COCO(str(folder / 'annotations' / 'person_keypoints_val.json')).imgs) == 4


def test_masks_boxes_and_areas(coco: COCO) -> None:
    owners = {i: np.zeros((128, 160), int) for i in coco.imgs}
    for ann in coco.anns.values():
        mask = coco.annToMask(ann)
        owners[ann['image_id']] += mask
        rows, columns = np.nonzero(mask)
        assert ann['area'] == mask.sum() == len(rows) > 0
        assert ann['bbox'] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert ann['iscrowd'] == 0
    assert max(owner.max() for owner in owners.values()) == 1  # a pixel belongs to one person


def test_flags(coco: COCO) -> None:
    num_hidden_by_others = 0
    for image_id in coco.imgs:
        anns = coco.loadAnns(coco.getAnnIds(image_id))
        masks = [coco.annToMask(ann) for ann in anns]
        for ann, mask in zip(anns, masks):
            assert ann['num_keypoints'] == np.count_nonzero(keypoints_of(ann)[:, 2])
            for x, y, flag in keypoints_of(ann):
                assert flag in (0, 1, 2)
                if flag == 0:
                    assert (x, y) == (0, 0)
                    continue
                row, column = round(y), round(x)
                assert 0 <= column < 160
                assert 0 <= row < 128
                if flag == 2:
                    assert mask[row, column]
                if any(other[row, column] for other in masks if other is not mask):
                    num_hidden_by_others += 1
                    assert flag == 1
    assert num_hidden_by_others > 0


def test_all_flags_occur_and_people_vary(coco: COCO) -> None:
    flags = np.concatenate([keypoints_of(ann)[:, 2] for ann in coco.anns.values()])
    assert (flags == 2).mean() > 0.5
    assert (flags == 1).mean() > 0.05
    assert (flags == 0).any()
    heights = [ann['bbox'][3] for ann in coco.anns.values()]
    assert max(heights) > 1.8 * min(heights)
    assert {len(coco.getAnnIds(i)) for i in coco.imgs} >= {1, 2, 3}


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('yaw', [0.0, 180.0])
def test_left_is_at_the_right_of_a_person_who_faces_the_camera(seed: int, yaw: float, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = sample_figure(seed, yaw=yaw, monkeypatch=monkeypatch)
    across = figure.joints['left_hip'] - figure.joints['right_hip']
    down = (figure.joints['left_hip'] + figure.joints['right_hip']) / 2 - figure.joints['neck']
    # Seen from the front, `across` is a quarter turn counter-clockwise (on the screen) of `down`; from the back, clockwise.
    turn = down[0] * across[1] - down[1] * across[0]
    assert (turn < 0) == (yaw == 0)
    keypoints = annotate_alone(figure, Canvas(np.zeros((300, 300, 3), np.uint8)))
    if yaw == 180:
        assert (keypoints[[K('nose'), K('left_eye'), K('right_eye')], 2] == 1).all()


def test_face_is_labelled_visible_where_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for seed in range(20):
        canvas = Canvas(np.zeros((300, 300, 3), np.uint8))
        keypoints = annotate_alone(sample_figure(seed, yaw=0.0, monkeypatch=monkeypatch), canvas)
        seen.append(keypoints[[K('left_eye'), K('right_eye')], 2].mean())
        for side in ('left', 'right'):
            if keypoints[K(f'{side}_eye'), 2] == 2:
                own = np.argwhere(canvas.labels == 1 + PARTS.index(f'{side}_eye'))
                x, y = keypoints[K(f'{side}_eye'), :2]
                assert np.hypot(*(own.mean(0) - (y, x))) < 2.5  # px; an arm may hide a part of it
    assert np.mean(seen) > 1.5


def test_own_body_hides_the_far_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned to the image's right (yaw 90), a person shows the right side."""
    flags = np.array(
        [
            annotate_alone(sample_figure(seed, yaw=90.0, monkeypatch=monkeypatch), Canvas(np.zeros((300, 300, 3), np.uint8)))[
                :, 2
            ]
            for seed in range(12)
        ]
    )
    assert flags[:, K('right_shoulder')].mean() > 1.8
    assert flags[:, K('left_shoulder')].mean() < 1.3
    assert flags[:, K('right_hip')].mean() > flags[:, K('left_hip')].mean()


@pytest.mark.parametrize(('far', 'seen'), [((0.0, 0.0, -9.0), False), ((6.0, 0.0, -6.0), True), ((9.0, 0.0, 0.0), True)])
def test_the_trunk_hides_a_shoulder_behind_it(far: tuple[float, ...], seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = sample_figure(0, yaw=90.0, monkeypatch=monkeypatch)
    figure.joints.update(left_shoulder=np.array(far), right_shoulder=-np.array(far))
    assert figure.is_seen('left_shoulder', 'torso') == seen
    assert figure.is_seen('right_shoulder', 'torso')
    assert figure.is_seen('left_shoulder', 'left_upper_arm')
    assert not figure.is_seen('left_shoulder', 'right_upper_arm')


@pytest.mark.parametrize('center', [(20.0, 20.0), (20.5, 19.5), (20.3, 20.8)])
def test_drawing_is_exact_below_a_pixel(center: tuple[float, float]) -> None:
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8))
    disc = hull_of_discs(np.array([center]), np.array([6.0]))
    canvas.fill(disc, (255, 255, 255), 1)
    rows, columns = np.mgrid[:40, :40]
    weight = canvas.image[..., 0] / canvas.image[..., 0].sum()
    np.testing.assert_allclose([(columns * weight).sum(), (rows * weight).sum()], center, atol=0.1)  # px
    np.testing.assert_allclose(np.argwhere(canvas.labels).mean(0)[::-1], center, atol=0.5)


def test_same_files_whatever_the_workers(folder: Path, tmp_path: Path) -> None:
    again = render_people(tmp_path / 'again', num_workers=2, **SMALL)
    assert files_of(again) == files_of(folder)


def test_other_seed_gives_other_people_and_more_images_the_same_first_ones(folder: Path, tmp_path: Path) -> None:
    other = render_people(tmp_path / 'other', num_workers=0, **{**SMALL, 'num_train': 1, 'num_val': 1, 'seed': 4})
    same = render_people(tmp_path / 'same', num_workers=0, **{**SMALL, 'num_train': 1, 'num_val': 1})
    first = Path('images', 'train', '000001.jpg')
    assert (same / first).read_bytes() == (folder / first).read_bytes() != (other / first).read_bytes()
    assert (same / first).read_bytes() != (same / 'images' / 'val' / '000001.jpg').read_bytes()


def test_says_that_it_draws_and_only_then(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """The first run would be silent for half a minute."""
    for _ in range(2):
        MMLogger.get_instance(f'synthetic {tmp_path}')  # bound to what is captured here
        render_people(tmp_path / 'people', num_workers=0, **{**SMALL, 'num_train': 1, 'num_val': 1})
    said = ''.join(capfd.readouterr())
    assert said.count(f'Drawing 2 images of synthetic people into {tmp_path / "people"}, once.') == 1


def test_reuses_the_same_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, '_write_split', lambda *args: pytest.fail('rendered again'))
    assert render_people(folder, num_workers=5, **SMALL) == folder
    with pytest.raises(ValueError, match=r'`seed` is 3 there and 4 here.*choose another folder'):
        render_people(folder, **{**SMALL, 'seed': 4})
    monkeypatch.setattr(synthetic, 'VERSION', 99)
    with pytest.raises(ValueError, match=r'`version` is \d+ there and 99 here'):
        render_people(folder, **SMALL)


def test_leaves_foreign_folders_alone(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match=r'no readable recipe\.json'):
        render_people(tmp_path, **SMALL)
    assert files_of(tmp_path) == {'notes.txt': b'mine'}


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError('disk full')

    monkeypatch.setattr(synthetic, '_render', fail)
    with pytest.raises(OSError, match='disk full'):
        render_people(tmp_path / 'people', num_workers=0, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_finished_meanwhile(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / 'people'

    def finish_first(path: Path, *args: object) -> None:
        target.mkdir(exist_ok=True)
        (target / 'recipe.json').write_text((folder / 'recipe.json').read_text())
        path.mkdir(exist_ok=True)

    monkeypatch.setattr(synthetic, '_write_split', finish_first)
    assert render_people(target, **SMALL) == target
    assert [path.name for path in tmp_path.iterdir()] == ['people']


def test_json_is_plain(folder: Path) -> None:
    recipe = json.loads((folder / 'recipe.json').read_text())
    assert recipe['image_size'] == [160, 128]
    assert 'num_workers' not in recipe


def test_scene_with_most_people_keeps_labels_apart() -> None:
    assert 1 + synthetic.MAX_PEOPLE * len(PARTS) <= synthetic.OBJECT_LABEL
    _, people = render_scene(np.random.default_rng(0), image_size=(640, 480), max_people=synthetic.MAX_PEOPLE)
    assert len(people) >= 1


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('num_train', 0, '`num_train` must be at least 1, got 0'),
        ('num_val', -1, '`num_val` must be at least 1, got -1'),
        ('seed', -1, '`seed` must be at least 0'),
        ('num_workers', -1, '`num_workers` must be at least 0'),
        ('image_size', (320, 32), r'`image_size` must be \(w, h\)'),
        ('max_people', 9, '`max_people` must be 1 to 8, got 9'),
    ],
)
def test_rejects(tmp_path: Path, name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_people(tmp_path / 'people', **{**SMALL, name: value})
