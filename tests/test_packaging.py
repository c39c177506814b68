"""What a wheel and a source archive contain, and that the dependency lists stand in one place."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest


@pytest.fixture(scope='module')
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, built without the network from a copy of the checkout."""
    from tests.conftest import copy_checkout

    checkout = copy_checkout(tmp_path_factory.mktemp('packaging') / 'checkout')
    out = checkout.parent / 'out'
    # The hooks that pip calls, in the environment of the tests: pip itself would fetch setuptools first.
    code = (
        'import sys; from setuptools import build_meta as b; '
        f'b.build_sdist({str(out)!r}); sys.argv[1:] = []; b.build_wheel({str(out)!r})'
    )
    out.mkdir()
    done = subprocess.run([sys.executable, '-c', code], cwd=checkout, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out


def _relative(repo: Path, folder: str, pattern: str) -> set[str]:
    return {path.relative_to(repo).as_posix() for path in (repo / folder).glob(pattern) if '__pycache__' not in path.parts}


def test_the_wheel_has_every_module_and_every_config(archives: Path, repo: Path) -> None:
    names = set(zipfile.ZipFile(next(archives.glob('*.whl'))).namelist())
    modules = _relative(repo, 'mmpose_lite', '**/*.py')
    configs = _relative(repo, 'configs', '**/*.py')
    assert len(modules) > 5
    assert 'configs/quickstart.py' in configs
    assert modules - names == set()
    assert {f'mmpose_lite/{name}' for name in configs} - names == set()
    assert 'mmpose_lite/zoo/index.json' in names


def test_names_work_from_an_installed_wheel(archives: Path, tmp_path: Path) -> None:
    """Far from a checkout: the configs and the index are those of the package."""
    site = tmp_path / 'site'
    zipfile.ZipFile(next(archives.glob('*.whl'))).extractall(site)
    code = """
import mmpose_lite
from mmpose_lite.apis import init_model
from mmpose_lite.errors import RunError
from mmpose_lite.zoo.names import find_config

model = init_model('rtmpose_t_coco_256x192')
assert model.meta.num_keypoints == 17
try:
    init_model('hrnet_w32_coco_256x192', pretrained=True)
except RunError as error:
    assert 'hrnet-w32' in str(error), error
print(mmpose_lite.__file__, model.cfg.filename, find_config('hrnet_w32_fp16_coco_256x192'))
"""
    env = {**os.environ, 'PYTHONPATH': str(site), 'MMPOSE_LITE_CACHE': str(tmp_path / 'cache'), 'MMPOSE_LITE_OFFLINE': '1'}
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    paths = done.stdout.splitlines()[-1].split()
    assert len(paths) == 3
    assert all(path.startswith(str(site)) for path in paths), paths


def test_the_wheel_has_nothing_else(archives: Path) -> None:
    names = zipfile.ZipFile(next(archives.glob('*.whl'))).namelist()
    assert {name.split('/')[0].split('-')[0] for name in names} == {'mmpose_lite'}
    assert not [name for name in names if '__pycache__' in name]


def test_the_wheel_names_what_it_needs(archives: Path, repo: Path) -> None:
    wheel = zipfile.ZipFile(next(archives.glob('*.whl')))
    text = wheel.read(next(name for name in wheel.namelist() if name.endswith('METADATA'))).decode()
    meta = HeaderParser().parsestr(text)
    required = {re.split(r'[;\s]', line)[0] for line in meta.get_all('Requires-Dist') if 'extra ==' not in line}
    runtime = (repo / 'requirements' / 'runtime.txt').read_text().split()
    assert required == set(runtime)
    assert not [line for line in runtime if re.search(r'<|==|~=', line)], 'an upper cap keeps people from new versions'
    assert set(meta.get_all('Provides-Extra')) == {'optional', 'tests', 'lint', 'all'}
    assert meta['Requires-Python'] == '>=3.10'
    assert meta['License-Expression'] == 'Apache-2.0' or meta['License'] == 'Apache-2.0'
    assert meta['Version'] == re.search(r"'(.+)'", (repo / 'mmpose_lite' / 'version.py').read_text()).group(1)


def test_the_source_archive_can_be_built_from_and_tested(archives: Path, repo: Path) -> None:
    with tarfile.open(next(archives.glob('*.tar.gz'))) as archive:
        names = {name.split('/', 1)[1] for name in archive.getnames() if '/' in name}
    assert {'setup.py', 'README.md', 'LICENSE', 'Makefile', '.ci/run', 'requirements/lint.txt'} <= names
    for folder in ('mmpose_lite', 'configs', 'tools', 'tests'):
        assert _relative(repo, folder, '**/*.py') - names == set()


def test_the_linters_are_pinned(repo: Path) -> None:
    lines = [line for line in (repo / 'requirements' / 'lint.txt').read_text().splitlines() if not line.startswith('#')]
    assert lines
    assert all(re.fullmatch(r'[\w-]+==[\d.]+', line) for line in lines)


def test_every_import_of_the_package_is_a_declared_dependency(repo: Path) -> None:
    """What a dependency brings along today it may leave out tomorrow."""
    distribution = {'mmcv': 'mmcv-lite', 'cv2': 'opencv-python', 'PIL': 'pillow', 'faster_coco_eval': 'faster-coco-eval'}
    brought_by_mmengine = {'matplotlib'}  # mmengine imports it itself
    declared = {
        re.split(r'[<>=]', line)[0]
        for name in ('runtime', 'optional')
        for line in (repo / 'requirements' / f'{name}.txt').read_text().splitlines()
    }
    imported = set()
    for path in repo.glob('mmpose_lite/**/*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split('.')[0])
    outside = {distribution.get(name, name) for name in imported - set(sys.stdlib_module_names) - {'mmpose_lite'}}
    assert 'torch' in outside
    assert outside - declared - brought_by_mmengine == set()
