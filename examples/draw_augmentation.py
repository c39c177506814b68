"""Draw what the augmentations for small objects and scale do to synthetic people: the pictures of docs/detection.md.

python examples/draw_augmentation.py --out docs/pictures
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.visualization import draw_objects, draw_side_by_side

META = ClassMeta.load('pedestrian')
LOAD = [dict(type='LoadImage'), dict(type='LoadMasks')]
HEIGHT = 300  # px of a picture
GREY = (225, 225, 225)


def dataset(folder: Path, *steps: dict[str, Any], mix: bool = False) -> Any:
    """Return people with the transforms behind loading; `mix` for those that need several images."""
    recipe = dict(num_train=12, num_val=1, image_size=(320, 256), seed=3, max_people=3)
    people = dict(type='SyntheticPeopleDetection', split='train', data_root=str(folder), with_masks=True, **recipe)
    if mix:
        return DATASETS.build(dict(type='MultiImageMixDataset', dataset=dict(people, pipeline=LOAD), pipeline=list(steps)))
    return DATASETS.build(dict(people, pipeline=[*LOAD, *steps]))


def drawn(results: dict[str, Any], *, zoom: float | None = None) -> np.ndarray:
    """Return a sample with its boxes and masks, enlarged by `zoom`, None for the usual height; ignored objects are grey."""
    zoom = zoom or HEIGHT / results['img'].shape[0]
    image = cv2.resize(results['img'], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    masks = [cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) for mask in results['masks']]
    objects = (results['bboxes'] * zoom, results['labels'])
    return draw_objects(image, *objects, meta=META, masks=np.array(masks), is_ignored=results['is_ignored'])


def filled_up(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the images in the size of the largest sides, grey at the right and below."""
    h, w = (max(image.shape[axis] for image in images) for axis in (0, 1))
    return [
        cv2.copyMakeBorder(image, 0, h - image.shape[0], 0, w - image.shape[1], cv2.BORDER_CONSTANT, value=GREY)
        for image in images
    ]


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Return name -> picture of each augmentation."""
    mosaic = dict(type='Mosaic', img_scale=(320, 256), center_ratio_range=(0.9, 1.1))
    copies = dict(type='CopyPasteSmallObjects', max_area=4500, num_copies=2)
    four, pasted = (dataset(folder, *steps, mix=True)[Draw(1, 0, 0)] for steps in ((mosaic,), (mosaic, copies)))
    shown = {
        'mosaic': draw_side_by_side([drawn(four)], ['Mosaic']),
        'copy_paste': draw_side_by_side([drawn(four), drawn(pasted)], ['before', 'CopyPasteSmallObjects']),
    }
    resize = dict(type='DetResize', scale=[(400, 120), (400, 320)], multiscale_mode='range')
    draws = [dataset(folder, resize)[Draw(0, 5, number)] for number in range(3)]
    sizes = ['{1} x {0}'.format(*results['img'].shape) for results in draws]
    shown['multi_scale'] = draw_side_by_side(filled_up([drawn(results, zoom=1.0) for results in draws]), sizes)
    panels, titles = [], []
    for scale, limits in (((1280, 1024), (0, 90)), ((640, 512), (70, 120)), ((320, 256), (100, 1000))):
        snip = dict(type='SNIPResize', scales=[scale], valid_ranges=[limits])
        panels.append(drawn(dataset(folder, mosaic, snip, mix=True)[Draw(1, 0, 0)]))
        titles.append(f'{scale[0]} x {scale[1]}: {limits[0]} to {limits[1]} px')
    shown['snip'] = draw_side_by_side(panels, titles)
    panels, titles = [drawn(four)], ['the image']
    for scale, limits in ((1.6, (0, 100)), (0.8, (80, 1000))):
        chip = dict(type='SNIPERChip', chip_size=256, scales=[scale], valid_ranges=[limits], background_prob=0.0)
        panels.append(drawn(dataset(folder, mosaic, chip, mix=True)[Draw(1, 0, 0)]))
        titles.append(f'a chip at {scale}: {limits[0]} to {limits[1]} px')
    shown['sniper'] = draw_side_by_side(panels, titles)
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Write one JPEG for each augmentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, required=True, help='folder for the pictures')
    parser.add_argument('--people', type=Path, default=Path('data/synthetic_drawn'), help='folder for the people')
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(args.people).items():
        cv2.imwrite(str(args.out / f'{name}.jpg'), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return 0


if __name__ == '__main__':
    sys.exit(main())
