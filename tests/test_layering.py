"""The import order of the package: what stands to the left knows nothing of what stands to the right."""

import ast
from pathlib import Path

import pytest

# Packages on one level are siblings and may not import one another, except where they stand in one tuple with '+'.
LEVELS = (
    ('registry+structures+errors+version',),
    ('ops',),
    ('codecs',),
    ('checkpoints',),
    ('datasets', 'models', 'evaluation'),
    ('engine+visualization',),
    ('zoo',),
    ('apis',),
    ('tools', 'tests'),
)
LEVEL = {part: level for level, groups in enumerate(LEVELS) for group in groups for part in group.split('+')}
GROUP = {part: group for groups in LEVELS for group in groups for part in group.split('+')}
ROOT_MODULE = '__init__'  # mmpose_lite/__init__.py: may import `version` only, see test_imports.py


def imported_parts(source: str, package: str) -> list[tuple[int, str]]:
    """Return (line, part) for each import of a part of mmpose_lite, inside functions too.

    Args:
        source: the text of a module.
        package: the dotted package the module stands in, against which relative imports are resolved.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                base = '.'.join([*package.split('.')[: len(package.split('.')) + 1 - node.level], *filter(None, [base])])
            names = [f'{base}.{alias.name}' for alias in node.names] if base == 'mmpose_lite' else [base]
        elif isinstance(node, ast.Call) and node.args and _called(node) in ('import_module', '__import__'):
            first = node.args[0]
            names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
        else:
            continue
        found += [(node.lineno, name.split('.')[1]) for name in names if name.startswith('mmpose_lite.')]
        found += [(node.lineno, name.split('.')[0]) for name in names if name.split('.')[0] in ('tools', 'tests')]
    return [(line, part) for line, part in found if not part.startswith('__')]  # `from mmpose_lite import __version__`


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')


def violations(source: str, path: str) -> list[str]:
    """Return one line for each import in `source` that the order forbids.

    Args:
        source: the text of a module.
        path: where it stands, relative to the root of the checkout, as 'mmpose_lite/models/losses/heatmap.py'.
    """
    parts = Path(path).with_suffix('').parts
    own = parts[1] if parts[0] == 'mmpose_lite' else parts[0]
    if own == ROOT_MODULE:
        allowed = {'version'}
    elif own in LEVEL:
        lower = {part for part in LEVEL if LEVEL[part] < LEVEL[own]}
        allowed = lower | {part for part in LEVEL if GROUP[part] == GROUP[own]}
    else:
        return [f'{path}: `{own}` has no place in the import order; see LEVELS in tests/test_layering.py.']
    return [
        f'{path}:{line}: `{own}` may not import `{part}`; it may import {", ".join(sorted(allowed))}.'
        for line, part in imported_parts(source, '.'.join(parts[:-1]))
        if part not in allowed
    ]


def test_the_order_holds(repo: Path) -> None:
    files = [*repo.glob('mmpose_lite/**/*.py'), *repo.glob('tools/**/*.py')]
    assert len(files) > 5, f'the package is not at {repo}'
    found = [line for file in files for line in violations(file.read_text(encoding='utf-8'), str(file.relative_to(repo)))]
    assert not found, '\n' + '\n'.join(sorted(found))


def test_there_is_no_utils_package(repo: Path) -> None:
    found = [path for path in repo.glob('mmpose_lite/**/*') if path.stem in ('utils', 'util', 'helpers', 'common', 'misc')]
    assert not found, f'name a module after what it does: {found}'


def test_bases_of_networks_are_ours(repo: Path) -> None:
    """mmengine's BaseModule and BaseModel print four lines for each parameter when initial values are set."""
    own = repo / 'mmpose_lite' / 'models' / 'base.py'
    found = [
        f'{path.relative_to(repo)}:{node.lineno}: import {alias.name} from mmpose_lite.models.base.'
        for path in repo.glob('mmpose_lite/models/**/*.py')
        if path != own
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mmengine.model')
        for alias in node.names
        if alias.name in ('BaseModule', 'BaseModel')
    ]
    assert not found, '\n' + '\n'.join(found)


def test_every_package_is_a_package(repo: Path) -> None:
    """A folder without __init__.py would be left out of the wheel."""
    folders = {path.parent for path in repo.glob('mmpose_lite/**/*.py')}
    assert not [folder for folder in folders if not (folder / '__init__.py').is_file()]


@pytest.mark.parametrize(
    ('path', 'source', 'part'),
    [
        ('mmpose_lite/ops/nms.py', 'import mmpose_lite.models.layers', 'models'),
        ('mmpose_lite/ops/nms.py', 'from mmpose_lite import apis', 'apis'),
        ('mmpose_lite/ops/nms.py', 'from mmpose_lite.codecs import HeatmapCodec', 'codecs'),
        ('mmpose_lite/checkpoints/reading.py', 'from mmpose_lite.engine.config import load_config', 'engine'),
        ('mmpose_lite/structures/boxes.py', 'def f():\n    from mmpose_lite.ops import iou\n', 'ops'),
        ('mmpose_lite/models/heads/pose/a.py', 'from mmpose_lite.datasets import x', 'datasets'),
        ('mmpose_lite/models/heads/pose/a.py', 'from ....datasets import x', 'datasets'),
        ('mmpose_lite/models/heads/__init__.py', 'from ...evaluation import x', 'evaluation'),
        ('mmpose_lite/datasets/coco.py', 'if TYPE_CHECKING:\n    from mmpose_lite.evaluation import x', 'evaluation'),
        ('mmpose_lite/engine/config.py', 'importlib.import_module("mmpose_lite.apis.train")', 'apis'),
        ('mmpose_lite/registry.py', 'from .engine import hooks', 'engine'),
        ('mmpose_lite/__init__.py', 'from mmpose_lite.registry import MODELS', 'registry'),
        ('mmpose_lite/apis/train.py', 'from tests.synthetic import x', 'tests'),
        ('tools/train.py', 'from tests import x', 'tests'),
    ],
)
def test_the_checker_sees_a_wrong_import(path: str, source: str, part: str) -> None:
    found = violations(source, path)
    assert len(found) == 1
    assert f'may not import `{part}`' in found[0]


@pytest.mark.parametrize(
    ('path', 'source'),
    [
        ('mmpose_lite/ops/nms.py', 'from mmpose_lite.structures import x\nimport torch, json'),
        ('mmpose_lite/structures/boxes.py', 'from mmpose_lite.registry import MODELS'),
        ('mmpose_lite/models/heads/a.py', 'from mmpose_lite.models.losses import x\nfrom ..layers import y\nfrom . import z'),
        ('mmpose_lite/models/pretrained.py', 'from mmpose_lite.checkpoints.reading import x\nfrom mmpose_lite.errors import y'),
        ('mmpose_lite/engine/hooks/draw.py', 'from mmpose_lite.visualization import x'),
        ('mmpose_lite/apis/train.py', 'from mmpose_lite import __version__, models\nfrom mmpose_lite.zoo import x'),
        ('mmpose_lite/__init__.py', 'from mmpose_lite.version import __version__'),
        ('tools/train.py', 'from mmpose_lite.apis import train'),
    ],
)
def test_the_checker_lets_a_right_import_pass(path: str, source: str) -> None:
    assert violations(source, path) == []


def test_the_checker_asks_for_a_place_for_a_new_part() -> None:
    assert 'has no place' in violations('', 'mmpose_lite/utils/io.py')[0]
