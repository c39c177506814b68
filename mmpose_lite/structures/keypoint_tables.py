"""The built-in keypoint conventions: what `KeypointMeta.load` takes by name."""

from collections.abc import Sequence
from typing import Any

_COCO_KEYPOINTS = (
    'nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist '
    'left_hip right_hip left_knee right_knee left_ankle right_ankle'
)
_COCO_LIMBS = (
    'left_ankle-left_knee left_knee-left_hip right_ankle-right_knee right_knee-right_hip left_hip-right_hip '
    'left_shoulder-left_hip right_shoulder-right_hip left_shoulder-right_shoulder left_shoulder-left_elbow '
    'right_shoulder-right_elbow left_elbow-left_wrist right_elbow-right_wrist left_eye-right_eye nose-left_eye nose-right_eye '
    'left_eye-left_ear right_eye-right_ear left_ear-left_shoulder right_ear-right_shoulder'
)
_COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035),  # head
    *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062),  # arms
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),  # legs
)
_LSP_KEYPOINTS = (
    'right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder left_shoulder '
    'left_elbow left_wrist neck head_top'
)
_LSP_LIMBS = (
    'right_ankle-right_knee right_knee-right_hip left_hip-left_knee left_knee-left_ankle right_hip-left_hip '
    'right_wrist-right_elbow right_elbow-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist right_hip-right_shoulder '
    'left_hip-left_shoulder right_shoulder-neck left_shoulder-neck head_top-neck'
)
_MPII_KEYPOINTS = (
    'right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top right_wrist right_elbow '
    'right_shoulder left_shoulder left_elbow left_wrist'
)
_MPII_LIMBS = (
    'right_ankle-right_knee right_knee-right_hip right_hip-pelvis left_hip-left_knee left_knee-left_ankle pelvis-left_hip '
    'pelvis-thorax thorax-upper_neck upper_neck-head_top right_wrist-right_elbow right_elbow-right_shoulder '
    'right_shoulder-thorax thorax-left_shoulder left_shoulder-left_elbow left_elbow-left_wrist'
)
_RHD_KEYPOINTS = 'wrist ' + ' '.join(f'{f}{j}' for f in ('thumb', 'index', 'middle', 'ring', 'little') for j in (4, 3, 2, 1))
_RHD_LIMBS = ' '.join(
    f'{a}-{b}'
    for f in ('thumb', 'index', 'middle', 'ring', 'little')
    for a, b in (('wrist', f'{f}1'), (f'{f}1', f'{f}2'), (f'{f}2', f'{f}3'), (f'{f}3', f'{f}4'))
)
_HALPE_KEYPOINTS = (
    f'{_COCO_KEYPOINTS} head neck hip left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel'
)
_FEET_LIMBS = ' '.join(f'{side}_ankle-{side}_{end}' for side in ('left', 'right') for end in ('big_toe', 'small_toe', 'heel'))
_HALPE_LIMBS = (
    'left_ankle-left_knee left_knee-left_hip left_hip-hip right_ankle-right_knee right_knee-right_hip right_hip-hip head-neck '
    'neck-hip neck-left_shoulder left_shoulder-left_elbow left_elbow-left_wrist neck-right_shoulder right_shoulder-right_elbow '
    'right_elbow-right_wrist left_eye-right_eye nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear '
    f'left_ear-left_shoulder right_ear-right_shoulder {_FEET_LIMBS}'
)
# OpenPose's COCO model: 17 joints and a neck. Limbs stand in the order of its published field channels, which is not the order
# in which its code lists them (there the arms come first).
_OPENPOSE_KEYPOINTS = (
    'nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee right_ankle '
    'left_hip left_knee left_ankle right_eye left_eye right_ear left_ear'
)
_OPENPOSE_LIMBS = (
    'neck-right_hip right_hip-right_knee right_knee-right_ankle neck-left_hip left_hip-left_knee left_knee-left_ankle '
    'neck-right_shoulder right_shoulder-right_elbow right_elbow-right_wrist right_shoulder-right_ear neck-left_shoulder '
    'left_shoulder-left_elbow left_elbow-left_wrist left_shoulder-left_ear neck-nose nose-right_eye nose-left_eye '
    'right_eye-right_ear left_eye-left_ear'
)
_OPENPOSE_COLORS = (
    *((255, 0, 85), (255, 0, 0)),  # nose, neck
    *((255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0)),  # right arm, left arm
    *((0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255)),  # right leg, left leg
    *((255, 0, 170), (170, 0, 255), (255, 0, 255), (85, 0, 255)),  # eyes, ears
)
_FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')
_WHOLEBODY_KEYPOINTS = ' '.join(
    (
        _COCO_KEYPOINTS,
        *(f'{side}_{end}' for side in ('left', 'right') for end in ('big_toe', 'small_toe', 'heel')),
        *(f'face-{i}' for i in range(68)),
        *(
            name
            for side in ('left', 'right')
            for name in (f'{side}_hand_root', *(f'{side}_{finger}{j}' for finger in _FINGERS for j in (1, 2, 3, 4)))
        ),
    )
)
_WHOLEBODY_LIMBS = ' '.join(
    (
        _COCO_LIMBS,
        _FEET_LIMBS,
        *(
            f'{side}_wrist-{side}_{finger}1 ' + ' '.join(f'{side}_{finger}{j}-{side}_{finger}{j + 1}' for j in (1, 2, 3))
            for side in ('left', 'right')
            for finger in _FINGERS
        ),
    )
)
# The 68 points of a face (iBUG 300-W) have numbers for names. In each of its parts a point and its mirror image have one sum:
# (first, end of the range, sum).
_FACE_MIRROR = (
    (0, 8, 16),  # jaw; 8 is the chin
    (17, 22, 43),  # brows
    (31, 33, 66),  # nostrils
    (36, 40, 81),  # upper lids
    (40, 42, 87),  # lower lids
    (48, 51, 102),  # upper lip, outside
    (55, 57, 114),  # lower lip, outside
    (60, 62, 124),  # upper lip, inside
    (65, 66, 132),  # lower lip, inside
)
_FACE_SWAPS = [(f'face-{i}', f'face-{total - i}') for first, end, total in _FACE_MIRROR for i in range(first, end)]
_FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041, 0.045),
    *(0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012, 0.009, 0.008),
    *(0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034, 0.008, 0.008, 0.009),
    *(0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008, 0.008, 0.010, 0.008),
)
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
    *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)


def _spec(keypoints: str, limbs: str, sigmas: Sequence[float] | float) -> dict[str, Any]:
    return dict(keypoints=keypoints.split(), limbs=[limb.split('-') for limb in limbs.split()], sigmas=sigmas)


def _sigmas_by_name(names: str, **others: float) -> list[float]:
    known = dict(zip(_COCO_KEYPOINTS.split(), _COCO_SIGMAS), **others)
    return [known[name] for name in names.split()]


def _sided(names: str) -> list[tuple[str, str]]:
    """Return the pairs of names that start with left and right."""
    return [(name, name.replace('left', 'right')) for name in names.split() if name.startswith('left')]


# Sigmas: COCO's own (cocodataset.org, keypoints-eval); LSP and MPII as mmpose derives them from COCO's; hands uniform.
# wholebody133: Jin et al., COCO-WholeBody, ECCV 2020, arXiv:2007.11858; order and sigmas are the authors', names and limbs
# mmpose's. halpe26: body and feet of Halpe-FullBody, Fang et al., AlphaPose, TPAMI 2022, arXiv:2211.03375, likewise.
# openpose18: Cao et al., OpenPose, TPAMI 2019, arXiv:1812.08008; order and colours are those of its COCO model.
BUILTIN: dict[str, dict[str, Any]] = {
    'coco17': _spec(_COCO_KEYPOINTS, _COCO_LIMBS, _COCO_SIGMAS),
    'lsp14': _spec(
        _LSP_KEYPOINTS,
        _LSP_LIMBS,
        (0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062, 0.026, 0.026),
    ),
    'mpii16': _spec(
        _MPII_KEYPOINTS,
        _MPII_LIMBS,
        (0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
    ),
    'rhd21': _spec(_RHD_KEYPOINTS, _RHD_LIMBS, 0.029),
    'halpe26': _spec(
        _HALPE_KEYPOINTS,
        _HALPE_LIMBS,
        (*_COCO_SIGMAS, 0.026, 0.026, 0.066, 0.079, 0.079, 0.079, 0.079, 0.079, 0.079),
    ),
    'wholebody133': dict(
        _spec(
            _WHOLEBODY_KEYPOINTS,
            _WHOLEBODY_LIMBS,
            (*_COCO_SIGMAS, 0.068, 0.066, 0.066, 0.092, 0.094, 0.094, *_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS),
        ),
        swaps=_sided(_WHOLEBODY_KEYPOINTS) + _FACE_SWAPS,
    ),
    'openpose18': dict(
        _spec(_OPENPOSE_KEYPOINTS, _OPENPOSE_LIMBS, _sigmas_by_name(_OPENPOSE_KEYPOINTS, neck=0.079)),
        colors=_OPENPOSE_COLORS,
        derived=dict(neck=('left_shoulder', 'right_shoulder')),
    ),
}
