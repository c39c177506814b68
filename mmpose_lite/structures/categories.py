"""Which category of a COCO-style file is which class: by name, never by number."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger

from mmpose_lite.structures.class_meta import ClassMeta


def labels_of_categories(
    categories: Sequence[Mapping[str, Any]], meta: ClassMeta, *, where: str, has_background: bool = False
) -> dict[int, int]:
    """Return category id -> label: a category belongs to the class of its name, and one of another name to none.

    Classes without a category are told in a warning, for a file may lack what others have.

    Args:
        categories: of a COCO-style file.
        meta: the classes.
        where: the file, for messages.
        has_background: class 0 is what no object covers, so no category.

    Raises:
        ValueError: no category is a class, a class is missing while a category has nearly its name, or a category lacks its
            id or name.
    """
    for number, category in enumerate(categories):
        if 'id' not in category or not isinstance(category.get('name'), str):
            raise ValueError(f'{where}: categories[{number}]: it needs an `id` and a `name`, got {category!r}.')
    names = {category['id']: category['name'] for category in categories}
    classes = meta.classes[has_background:]
    if has_background and meta.classes[0] in names.values():
        raise ValueError(
            f'{where}: its category {meta.classes[0]!r} is class 0 of `meta` ({meta.name}), which is that of the pixels outside '
            "of all objects; put a class such as 'background' before the categories."
        )
    labels = {i: meta.classes.index(name) for i, name in names.items() if name in classes}
    missing = [name for name in classes if name not in names.values()]
    others = {name.lower(): name for name in names.values() if name not in meta.classes}
    for name in missing:
        near = difflib.get_close_matches(name.lower(), others, n=1, cutoff=0.75)
        if near:
            raise ValueError(
                f'{where}: the class {name!r} of `meta` ({meta.name}) is no category of the file, which has '
                f'{others[near[0]]!r}. Give the class the name of its category.'
            )
    if not labels:
        raise ValueError(
            f'{where}: none of its categories {_some(names.values())} is one of the classes {_some(classes)} of `meta` '
            f'({meta.name}). A category belongs to the class of its name.'
        )
    if missing:
        MMLogger.get_current_instance().warning(
            f'{where}: {len(missing)} of the {len(classes)} classes of `meta` ({meta.name}) are no category of the file: '
            f'{_some(missing)}.'
        )
    return labels


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return repr(names) if len(names) <= most else f'{names[:most]!r} and {len(names) - most} more'
