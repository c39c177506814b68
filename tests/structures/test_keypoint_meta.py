import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.keypoint_meta import BUILTIN, DEFAULT_SIGMA

HAND = dict(name='hand', keypoints=['wrist', 'left_tip', 'right_tip'], limbs=[['wrist', 'left_tip'], [0, 2]])


@pytest.mark.parametrize(
    ('name', 'num_keypoints', 'num_limbs'),
    [('coco17', 17, 19), ('lsp14', 14, 14), ('mpii16', 16, 15), ('rhd21', 21, 20), ('halpe26', 26, 27)],
)
def test_builtin(name: str, num_keypoints: int, num_limbs: int) -> None:
    meta = KeypointMeta.load(name)
    assert meta.name == name
    assert (meta.num_keypoints, meta.num_limbs) == (num_keypoints, num_limbs)
    assert len(meta.sigmas) == len(meta.colors) == num_keypoints
    assert len(meta.limb_colors) == num_limbs
    assert len({frozenset(limb) for limb in meta.limbs}) == num_limbs
    assert {i for limb in meta.limbs for i in limb} == set(range(num_keypoints))  # every keypoint is drawn
    for i, j in enumerate(meta.swaps):
        assert meta.swaps[j] == i
        side, _, joint = meta.keypoints[i].partition('_')
        other = {'left': 'right', 'right': 'left'}.get(side, side)
        assert meta.keypoints[j] == (f'{other}_{joint}' if joint else side)
        if name != 'rhd21':
            assert meta.colors[i] == {'left': (0, 255, 0), 'right': (255, 128, 0)}.get(side, (51, 153, 255))


def test_coco_is_cocos() -> None:
    cocoeval = pytest.importorskip('pycocotools.cocoeval')
    meta = KeypointMeta.load('coco17')
    np.testing.assert_allclose(meta.sigmas, cocoeval.Params(iouType='keypoints').kpt_oks_sigmas)
    assert meta.swaps == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert [meta.keypoints[i] for i in meta.lower_body] == [
        f'{side}_{joint}' for joint in ('hip', 'knee', 'ankle') for side in ('left', 'right')
    ]


def test_the_joints_of_lsp_have_cocos_sigmas() -> None:
    coco, lsp = KeypointMeta.load('coco17'), KeypointMeta.load('lsp14')
    sigma = dict(zip(coco.keypoints, coco.sigmas))
    assert [value for name, value in zip(lsp.keypoints, lsp.sigmas) if value != sigma.get(name)] == [0.026, 0.026]  # neck, top


def test_halpe_is_coco_and_nine_more() -> None:
    coco, halpe = KeypointMeta.load('coco17'), KeypointMeta.load('halpe26')
    assert halpe.keypoints[:17] == coco.keypoints
    assert halpe.sigmas[:17] == coco.sigmas
    assert halpe.keypoints[17:21] == ('head', 'neck', 'hip', 'left_big_toe')
    assert {halpe.keypoints[i] for i in halpe.lower_body} >= {'hip', 'left_heel', 'right_small_toe'}


# The numbers of face points that change places, and all sigmas, as https://github.com/jin-s13/COCO-WholeBody publishes them.
FACE_PAIRS = (
    '0 16 1 15 2 14 3 13 4 12 5 11 6 10 7 9 17 26 18 25 19 24 20 23 21 22 31 35 32 34 36 45 37 44 38 43 39 42 40 47 41 46 '
    '48 54 49 53 50 52 55 59 56 58 60 64 61 63 65 67'
)
WHOLEBODY_SIGMAS = """
    0.026 0.025 0.025 0.035 0.035 0.079 0.079 0.072 0.072 0.062 0.062 0.107 0.107 0.087 0.087 0.089 0.089 0.068 0.066 0.066
    0.092 0.094 0.094 0.042 0.043 0.044 0.043 0.040 0.035 0.031 0.025 0.020 0.023 0.029 0.032 0.037 0.038 0.043 0.041 0.045
    0.013 0.012 0.011 0.011 0.012 0.012 0.011 0.011 0.013 0.015 0.009 0.007 0.007 0.007 0.012 0.009 0.008 0.016 0.010 0.017
    0.011 0.009 0.011 0.009 0.007 0.013 0.008 0.011 0.012 0.010 0.034 0.008 0.008 0.009 0.008 0.008 0.007 0.010 0.008 0.009
    0.009 0.009 0.007 0.007 0.008 0.011 0.008 0.008 0.008 0.01 0.008 0.029 0.022 0.035 0.037 0.047 0.026 0.025 0.024 0.035
    0.018 0.024 0.022 0.026 0.017 0.021 0.021 0.032 0.02 0.019 0.022 0.031 0.029 0.022 0.035 0.037 0.047 0.026 0.025 0.024
    0.035 0.018 0.024 0.022 0.026 0.017 0.021 0.021 0.032 0.02 0.019 0.022 0.031
"""


def test_wholebody_is_as_published() -> None:
    meta = KeypointMeta.load('wholebody133')
    assert (meta.num_keypoints, meta.num_limbs) == (133, 65)
    assert meta.keypoints[:17] == KeypointMeta.load('coco17').keypoints
    first = {name: meta.keypoints.index(name) for name in ('left_big_toe', 'face-0', 'left_hand_root', 'right_hand_root')}
    assert first == {'left_big_toe': 17, 'face-0': 23, 'left_hand_root': 91, 'right_hand_root': 112}
    assert meta.sigmas == tuple(map(float, WHOLEBODY_SIGMAS.split()))
    numbers = list(map(int, FACE_PAIRS.split()))
    mirrored = dict(zip(numbers[::2], numbers[1::2])) | dict(zip(numbers[1::2], numbers[::2]))
    assert [swap - 23 for swap in meta.swaps[23:91]] == [mirrored.get(i, i) for i in range(68)]
    for i in (*range(23), *range(91, 133)):
        name = meta.keypoints[i]
        other = name.replace('left', 'RIGHT').replace('right', 'left').replace('RIGHT', 'right')
        assert meta.keypoints[meta.swaps[i]] == other
    assert [meta.swaps[j] for j in meta.swaps] == list(range(133))


def test_rhd_goes_from_the_tip_to_the_palm() -> None:
    """The data set's own order: the wrist, then each finger from its tip; limbs go from the wrist to the tip."""
    meta = KeypointMeta.load('rhd21')
    assert meta.keypoints[:6] == ('wrist', 'thumb4', 'thumb3', 'thumb2', 'thumb1', 'index4')
    assert meta.limbs[:4] == ((0, 4), (4, 3), (3, 2), (2, 1))
    assert meta.swaps == tuple(range(21))


def test_hand_of_a_user() -> None:
    meta = KeypointMeta.load(HAND)
    assert meta.name == 'hand'
    assert meta.limbs == ((0, 1), (0, 2))
    assert meta.swaps == (0, 2, 1)  # found by name
    assert meta.sigmas == (DEFAULT_SIGMA,) * 3
    assert meta.lower_body == ()
    assert meta.colors[1:] == meta.limb_colors == ((0, 255, 0), (255, 128, 0))


@pytest.mark.parametrize('num', [1, 2, 5, 21, 133])
def test_a_number_is_enough(num: int) -> None:
    meta = KeypointMeta.load(dict(keypoints=num))
    assert meta.num_keypoints == num
    assert meta.swaps == tuple(range(num))
    assert meta.keypoints[-1] == f'keypoint_{num - 1}'
    assert len(set(meta.colors)) == num  # without sides, each has a hue of its own


def test_flip_indices_reorder_channels() -> None:
    meta = KeypointMeta.load(HAND)
    channels = np.array([10, 11, 12])
    assert channels[meta.flip_indices].tolist() == [10, 12, 11]
    assert channels[meta.flip_indices][meta.flip_indices].tolist() == channels.tolist()


@pytest.mark.parametrize(
    ('swaps', 'expected'),
    [
        ([['a', 'c']], (2, 1, 0)),
        ([[0, 1]], (1, 0, 2)),
        ([], (0, 1, 2)),
        ([['a', 'b'], ['b', 'a']], (1, 0, 2)),
        ([['b', 'b']], (0, 1, 2)),
    ],
)
def test_swaps_given(swaps: list, expected: tuple[int, ...]) -> None:
    assert KeypointMeta.from_dict(dict(keypoints=['a', 'b', 'c'], swaps=swaps)).swaps == expected


@pytest.mark.parametrize(
    'pair',
    [
        'Left Eye/Right Eye',
        'LEFT_EYE/RIGHT_EYE',
        'l_eye/r_eye',
        'eye.L/eye.R',
        'LEye/REye',
        'earL/earR',
        'L/R',
        'leftEye/rightEye',
    ],
)
def test_sides_are_found_as_annotation_tools_write_them(pair: str) -> None:
    left, right = pair.split('/')
    meta = KeypointMeta.from_dict(dict(keypoints=[left, 'nose', right]))
    assert meta.swaps == (2, 1, 0)
    assert meta.colors == ((0, 255, 0), (51, 153, 255), (255, 128, 0))


@pytest.mark.parametrize('names', ['L1/R1', 'tail/rail', 'Lip/Rip', 'cell/cerr', 'bright/bleft'])
def test_letters_within_words_are_no_sides(names: str) -> None:
    found = KeypointMeta.from_dict(dict(keypoints=names.split('/'))).swaps
    assert found == ((1, 0) if names == 'bright/bleft' else (0, 1))


def test_a_side_without_its_other_stays_where_it_is_and_is_told(recwarn: pytest.WarningsRecorder) -> None:
    assert KeypointMeta.from_dict(dict(keypoints=['left_eye', 'rigth_eye', 'nose'])).swaps == (0, 1, 2)
    assert "'left_eye' has no 'right_eye' to change places with when an image is mirrored; correct" in str(recwarn.pop().message)
    KeypointMeta.from_dict(dict(keypoints=['left_eye', 'nose'], swaps=[]))
    KeypointMeta.from_dict(dict(keypoints=['left_eye', 'right_eye']))
    assert not recwarn.list


def test_a_file_of_annotations_is_no_meta_but_says_one(tmp_path: Path) -> None:
    categories: list[dict] = [
        dict(id=0, name='none'),
        dict(id=1, keypoints=['nose', 'l_ear', 'r_ear'], skeleton=[[1, 2], [1, 3]]),
    ]
    (tmp_path / 'train.json').write_text(json.dumps(dict(images=[], annotations=[], categories=categories)))
    with pytest.raises(ValueError, match=r'train\.json: KeypointMeta: this is a file of annotations\. Write .*: {') as caught:
        KeypointMeta.load(tmp_path / 'train.json')
    meta = KeypointMeta.load(json.loads('{' + str(caught.value).split('{', 1)[1]))
    assert (meta.keypoints, meta.limbs, meta.swaps) == (('nose', 'l_ear', 'r_ear'), ((0, 1), (0, 2)), (0, 2, 1))
    (tmp_path / 'train.json').write_text(json.dumps(dict(annotations=[], categories=categories[:1])))
    with pytest.raises(ValueError, match='names of the `keypoints`, which its categories do not tell'):
        KeypointMeta.load(tmp_path / 'train.json')


def test_lower_body_and_marks_of_other_writers(tmp_path: Path) -> None:
    assert KeypointMeta.load(dict(keypoints=['Nose', 'Left Hip', 'Right Hip'])).lower_body == (1, 2)
    (tmp_path / 'fish.json').write_bytes(b'\xef\xbb\xbf{"keypoints": ["nose", "tail"]}')
    assert KeypointMeta.load(tmp_path / 'fish.json').num_keypoints == 2


@pytest.mark.parametrize('spec', [*BUILTIN, HAND, dict(keypoints=2, colors=[[1, 2, 3], [4, 5, 6]], sigmas=[0.1, 0.2])])
def test_the_plain_form_reads_back(spec: object, tmp_path: Path) -> None:
    meta = KeypointMeta.load(spec)
    assert KeypointMeta.from_dict(meta.to_dict()) == meta
    path = tmp_path / 'meta.json'
    path.write_text(json.dumps(meta.to_dict()))
    assert KeypointMeta.load(path) == KeypointMeta.load(str(path)) == meta
    assert pickle.loads(pickle.dumps(meta)) == meta
    assert KeypointMeta.load(meta) is meta


def test_a_file_without_a_name_has_the_files(tmp_path: Path) -> None:
    (tmp_path / 'fish.json').write_text('{"keypoints": ["nose", "tail"]}')
    assert KeypointMeta.load(tmp_path / 'fish.json').name == 'fish'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(sigma=1), r"unknown keys \['sigma'\]; known keys are"),
        (dict(keypoints=[]), r'`keypoints` must be one or more names, got \(\)'),
        (dict(keypoints=0), '`keypoints` must be one or more names'),
        (dict(keypoints='ab'), '`keypoints` must be one or more names'),
        (dict(keypoints=[1, 2]), '`keypoints` must be one or more names'),
        (dict(keypoints=['a', 'b', 'a']), r"`keypoints` must be unique, got \['a'\] more than once"),
        (dict(limbs=[['a', 'elbo']]), "`limbs` names the keypoint 'elbo', which is not one of the 3. Did you mean 'elbow'"),
        (dict(limbs=[['a', 3]]), '`limbs` names the keypoint 3, which is not one of the 3'),
        (dict(limbs=[['a', -1]]), '`limbs` names the keypoint -1'),
        (dict(limbs=['ab']), "`limbs` must be pairs of keypoints, got 'ab'"),
        (dict(limbs=[['a', 'b', 'elbow']]), '`limbs` must be pairs of keypoints'),
        (dict(swaps=[['a', 'b'], ['b', 'elbow']]), "`swaps` must be an involution, but 'b' is paired with both 'a' and 'elbow'"),
        (dict(swaps=[['a', 'x']]), "`swaps` names the keypoint 'x'"),
        (dict(sigmas=[0.1, 0.1]), r'`sigmas` must be one positive number or 3, got \(0.1, 0.1\)'),
        (dict(sigmas=0), '`sigmas` must be one positive number or 3'),
        (dict(colors=[[0, 0, 0]]), '`colors` needs 3 RGB triples, got 1'),
        (dict(limbs=[['a', 'b']], limb_colors=[]), '`limb_colors` needs 1 RGB triples, got 0'),
        (dict(lower_body=['hip']), "`lower_body` names the keypoint 'hip'"),
        (dict(derived=dict(neck=['a'])), "`derived` names the keypoint 'neck', which is not one of the 3"),
        (dict(derived=dict(a=[])), r"`derived` must give the names of other keypoints whose mean 'a' is, got \[\]"),
        (dict(derived=dict(a='b')), "whose mean 'a' is, got 'b'"),
        (dict(derived=dict(a=[1])), r"whose mean 'a' is, got \[1\]"),
        (dict(derived=dict(a=['a', 'b'])), r"whose mean 'a' is, got \['a', 'b'\]"),
    ],
)
def test_wrong_metas(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeypointMeta.load({**dict(keypoints=['a', 'b', 'elbow']), **change})


def test_wrong_files_and_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='`keypoints` is missing'):
        KeypointMeta.load({})
    with pytest.raises(ValueError, match=r"one of \['coco17', .* a \.json file or a dict, got 'coco'\. Did you mean 'coco17'"):
        KeypointMeta.load('coco')
    with pytest.raises(ValueError, match=r"a \.json file or a dict, got '5'"):
        KeypointMeta.load(5)
    with pytest.raises(FileNotFoundError, match=r"the file 'absent\.json' given as `meta` does not exist"):
        KeypointMeta.load('absent.json')
    for text in ('{', '[1]', '{"keypoints": []}'):
        (tmp_path / 'meta.json').write_text(text)
        with pytest.raises(ValueError, match=r'meta\.json: '):
            KeypointMeta.load(tmp_path / 'meta.json')
