"""Leeds Sports Pose: `joints.mat` and a folder of images -> COCO-style files.

Sources: Johnson and Everingham, BMVC 2010 (LSP: 2,000 people) and CVPR 2011 (LSPET, the extended set: 10,000 people).

Both files hold one array `joints`, but not the same one:
- LSPET is (14, 3, N); its third number is 1 where the joint was marked. Unmarked joints get visibility 0.
- LSP is (3, 14, N); its third number is 1 where the joint is *hidden*. Every joint has a position, so hidden joints get
  visibility 1 and the others 2.

Positions stay as they stand in the file. MATLAB counts pixels from 1, but LSPET's are fractions of a pixel that go down to
0.06, so nothing says that 1 should be taken off; mmpose takes nothing off either.
"""

# Letters: N people, one per image; K = 14 keypoints.
from pathlib import Path

import numpy as np

from mmpose_lite.datasets.converters.coco_style import (
    check_images,
    check_new,
    coco_annotations,
    coco_category,
    coco_images,
    image_sizes,
    keypoint_boxes,
    write_coco,
)
from mmpose_lite.datasets.converters.matlab import read_matlab
from mmpose_lite.structures import KeypointMeta

NUM_JOINTS = 14


def read_lsp_joints(mat_file: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read `joints.mat` of LSP or LSPET, told apart by the shape.

    Returns:
        (N, 14, 2) positions in px and (N, 14) visibility 0, 1 or 2, as COCO counts it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no MATLAB file (up to version 7), has no `joints`, or these have another shape.
    """
    joints = np.asarray(read_matlab(mat_file, 'joints', argument='joints'))
    if joints.ndim == 2:  # MATLAB drops a last axis of 1
        joints = joints[..., None]
    if joints.shape[:2] == (NUM_JOINTS, 3):
        joints = joints.transpose(2, 0, 1)
        visibility = 2 * (joints[..., 2] > 0)
    elif joints.shape[:2] == (3, NUM_JOINTS):
        joints = joints.transpose(2, 1, 0)
        visibility = 2 - (joints[..., 2] > 0)
    else:
        raise ValueError(f'{mat_file}: `joints` must be (14, 3, N) as in LSPET or (3, 14, N) as in LSP, got {joints.shape}.')
    return joints[..., :2].astype(np.float64), visibility.astype(np.int64)


def convert_lsp(
    joints: str | Path, images: str | Path, out: str | Path, *, num_train: int | None = None, overwrite: bool = False
) -> list[Path]:
    """Write `person_keypoints_train.json` and `person_keypoints_val.json`.

    The first `num_train` people are the training split, the others the validation split; nothing is drawn by chance.
    Joints outside their image are left out (visibility 0); so are people whose joints span no box.

    Args:
        joints: `joints.mat`.
        images: folder of im0001.jpg ... (LSP) or im00001.jpg ... (LSPET).
        out: folder for the files; made when absent.
        num_train: 0 < num_train <= N; default four fifths. LSP's own protocol is 1000 of 2000.
        overwrite: replace files of these names in `out`.

    Returns:
        The files written; the validation file only when someone is left for it.

    Raises:
        FileExistsError: `out` has such files already.
        FileNotFoundError: `joints` or images do not exist.
        ValueError: `joints` does not hold what LSP's does, an image is broken, or `num_train` is out of range.
    """
    check_new([Path(out) / f'person_keypoints_{split}.json' for split in ('train', 'val')], overwrite=overwrite)
    points, v = read_lsp_joints(joints)
    N = len(points)
    num_train = N * 4 // 5 if num_train is None else num_train
    if not 0 < num_train <= N:
        raise ValueError(f'convert_lsp: `num_train` must be 1 to {N} (the people in {joints}), got {num_train}.')
    names = _image_names(Path(images), N)
    sizes = image_sizes('convert_lsp', [Path(images) / name for name in names])

    points = points.round(2)
    inside = ((points >= 0) & (points <= sizes[:, None] - 1)).all(-1)
    v = np.where(inside, v, 0)
    seen = np.flatnonzero(v.any(1))
    bboxes, areas = keypoint_boxes(points[seen], v[seen] > 0, sizes[seen])
    boxed = areas > 0
    kept = seen[boxed]
    annotations = coco_annotations(kept + 1, points[kept], v[kept], bboxes[boxed], areas[boxed])
    entries = coco_images(range(1, N + 1), names, sizes)
    category = coco_category('person', KeypointMeta.load('lsp14'))
    written = []
    for split, first, last in (('train', 1, num_train), ('val', num_train + 1, N)):
        if first > last:
            continue
        path = write_coco(
            Path(out) / f'person_keypoints_{split}.json',
            images=entries[first - 1 : last],
            annotations=[a for a in annotations if first <= a['id'] <= last],
            category=category,
            description=f'Leeds Sports Pose, images {first}-{last} of {joints}',
        )
        written.append(path)
    return written


def _image_names(folder: Path, count: int) -> list[str]:
    """Return im0001.jpg (LSP) or im00001.jpg (LSPET) and so on; all of them exist."""
    digits = 4 if (folder / 'im0001.jpg').is_file() else 5
    names = [f'im{i:0{digits}d}.jpg' for i in range(1, count + 1)]
    check_images('convert_lsp', folder, names, ' They are named im0001.jpg ... in LSP and im00001.jpg ... in LSPET.')
    return names
