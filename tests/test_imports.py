"""The package imports without compiled operators and without what is gone from new Pythons; its root stays cheap."""

import subprocess
import sys

import pytest

import mmpose_lite

FORBIDDEN = ('mmcv.ops', 'mmcv._ext', 'xtcocotools', 'pkg_resources')

BLOCK = f"""
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == root or name.startswith(root + '.') for root in {FORBIDDEN!r}):
            raise ModuleNotFoundError(f'{{name}} is blocked by the test', name=name)

sys.meta_path.insert(0, Block())
"""


def run(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_without_compiled_operators() -> None:
    printed = run(
        BLOCK
        + """
import importlib, pkgutil
import mmpose_lite

def fail(name):
    raise ImportError(f'cannot import the package {name}')

names = [m.name for m in pkgutil.walk_packages(mmpose_lite.__path__, 'mmpose_lite.', onerror=fail)]
names = [name for name in names if not name.startswith('mmpose_lite.configs')]
for name in names:
    importlib.import_module(name)
assert not [name for name in sys.modules if name.startswith(('mmcv.ops', 'xtcocotools', 'pkg_resources'))]
print(len(names), *names)
"""
    )
    number, *names = printed.split()
    assert int(number) == len(names) > 5
    assert 'mmpose_lite.registry' in names


@pytest.mark.parametrize('name', FORBIDDEN)
def test_the_block_blocks(name: str) -> None:
    """The test above means something only if the blocked modules cannot be imported."""
    code = f'try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    print("blocked by the test" in str(error))\n'
    assert run(BLOCK + code).strip() == 'True'


def test_the_root_imports_nothing_heavy() -> None:
    heavy = ('torch', 'torchvision', 'mmengine', 'mmcv', 'cv2', 'numpy', 'scipy')
    assert run(f'import mmpose_lite, sys; print([name for name in {heavy!r} if name in sys.modules])').strip() == '[]'


def test_what_few_parts_need_is_imported_by_those() -> None:
    """Every command starts a third sooner without them: torchvision alone brings torch._dynamo."""
    code = """
import sys
import mmengine.runner  # with torch 2.4 it brings torch._dynamo itself
before = set(sys.modules)
from mmpose_lite.apis import browse, check, infer, train
from mmpose_lite.registry import ALL
for registry in ALL:
    registry.import_from_location()
print([name for name in ('matplotlib', 'scipy', 'torch._dynamo', 'torchvision') if name in set(sys.modules) - before])
"""
    assert run(code).strip() == '[]'


def test_the_root_has_a_version() -> None:
    from importlib.metadata import PackageNotFoundError, version

    assert mmpose_lite.__version__.count('.') == 2
    try:
        installed = version('mmpose_lite')
    except PackageNotFoundError:
        pytest.skip('mmpose_lite is on the path but not installed')
    assert installed == mmpose_lite.__version__, 'install again: pip install -e .'
