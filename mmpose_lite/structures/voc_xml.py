"""PASCAL VOC's annotations of objects, an XML file for each image, in COCO's form."""

import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmpose_lite.structures.class_tables import BUILTIN
from mmpose_lite.structures.coco_file import IMAGE_SUFFIXES


def read_voc(list_file: str | Path) -> dict[str, Any]:
    """Return images, annotations and categories of the images in a list, as a COCO-style file has them.

    The list stands in VOC's layout: {root}/ImageSets/Main/trainval.txt names files of {root}/Annotations and {root}/JPEGImages.
    An image is a file of that name with the suffix of its XML's `filename`, else .jpg; its id is its place in the list, from 1.
    VOC counts pixels from 1 and the last one in, so a box from xmin to xmax reaches from the edge xmin - 1 to the edge xmax.
    `difficult` objects have `ignore`. Categories are VOC's 20, then others that are found.

    Args:
        list_file: text with the name of an image in each line, without suffix; the -1, 0 or 1 that the lists of single classes
            have behind it does not matter.

    Raises:
        FileNotFoundError: the list or an XML file is missing.
        ValueError: the list is empty, or an XML file is faulty; names file and object.
    """
    list_file = Path(list_file)
    if not list_file.is_file():
        raise FileNotFoundError(f'read_voc: the list {str(list_file)!r} (`ann_file` under `data_root`) does not exist.')
    lines = [line.strip() for line in list_file.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    if not lines:
        raise ValueError(f'read_voc: the list {str(list_file)!r} names no image.')
    folder = Path(os.path.abspath(list_file)).parents[2] / 'Annotations'
    names = [line if (folder / f'{line}.xml').is_file() else re.sub(r'\s+(-1|0|1)$', '', line) for line in lines]
    categories = {name: number for number, name in enumerate(BUILTIN['voc20']['classes'], start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, name in enumerate(names, start=1):
        root = _parsed(folder / f'{name}.xml', list_file)
        suffix = Path(root.findtext('filename') or '').suffix
        image = dict(id=image_id, file_name=name + (suffix if suffix.lower() in IMAGE_SUFFIXES else '.jpg'))
        size = root.find('size')
        where = f'{folder / name}.xml'
        if size is not None:
            image |= {key: int(_number(size, key, where)) for key in ('width', 'height') if size.findtext(key)}
        images.append(image)
        for number, element in enumerate(root.iter('object')):
            where = f'{folder / name}.xml, object {number}'
            category, box = element.findtext('name'), element.find('bndbox')
            if box is None:
                raise ValueError(f'{where}: it has no `bndbox`.')
            x1, y1, x2, y2 = (_number(box, key, where) for key in ('xmin', 'ymin', 'xmax', 'ymax'))
            if not category:
                raise ValueError(f'{where}: it has no `name`.')
            width, height = x2 - x1 + 1, y2 - y1 + 1
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=categories.setdefault(category, len(categories) + 1),
                    bbox=[x1 - 1, y1 - 1, width, height],
                    area=width * height,
                    iscrowd=0,
                    ignore=int(element.find('difficult') is not None and _number(element, 'difficult', where) > 0),
                )
            )
    return dict(images=images, annotations=annotations, categories=[dict(id=i, name=name) for name, i in categories.items()])


def _parsed(path: Path, list_file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{path} does not exist, but {list_file} names it.') from error
    except ElementTree.ParseError as error:
        raise ValueError(f'{path}: no valid XML: {error}.') from error


def _number(element: ElementTree.Element, key: str, where: str) -> float:
    """Return the number in an element of this name; some tools write 12.0 for a whole one."""
    text = element.findtext(key)
    try:
        return float(text or '')
    except ValueError as error:
        raise ValueError(f'{where}: `{key}` must be a number, got {text!r}.') from error
