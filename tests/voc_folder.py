"""A small folder in PASCAL VOC's layout."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

Object = tuple[str, tuple[float, float, float, float], int]  # name, (xmin, ymin, xmax, ymax) as VOC counts, difficult
IMAGES: dict[str, list[Object]] = {
    '000005': [('dog', (11, 21, 50, 60), 0), ('cat', (1, 1, 20, 10), 0), ('dog', (60, 30, 79, 49), 1)],
    '000007': [('cat', (5, 5, 44, 54), 0)],
    '2008_000009': [],
}


def write_voc(root: Path, images: dict[str, Sequence[Object]] | None = None) -> Path:
    """Write images of 90 x 70 px (w x h), their XML files and ImageSets/Main/test.txt; return the path of the list."""
    images = IMAGES if images is None else images
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), np.full((70, 90, 3), 90, np.uint8))
        parts = [
            f'<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>'
            f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
            for label, (x1, y1, x2, y2), difficult in objects
        ]
        size = '<size><width>90</width><height>70</height><depth>3</depth></size>'
        (root / 'Annotations' / f'{name}.xml').write_text(f'<annotation>{size}{"".join(parts)}</annotation>')
    path = root / 'ImageSets' / 'Main' / 'test.txt'
    path.write_text(''.join(f'{name}  1\n' for name in images))
    return path
