"""The files of a config: which there are, where a mistake in one of them stands, what is made of a variable, what is imported."""

import ast
import importlib
import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmpose_lite.errors import ConfigError

_BASE = '_base_'


@dataclass(frozen=True)
class ConfigFile:
    """One file of a config.

    Attributes:
        path: of the file.
        tree: its Python.
    """

    path: Path
    tree: ast.Module

    @property
    def names(self) -> set[str]:
        """The names that it sets at its top level."""
        return {name for name, _ in _assignments(self.tree)}


def config_files(path: Path) -> list[ConfigFile]:
    """Return a .py config and its bases, the file itself first.

    Raises:
        ConfigError: a file is no Python, or a base does not exist or leads back to itself.
    """
    return _files(Path(os.path.abspath(path)), outer=path, above=())


def _files(path: Path, *, outer: Path, above: tuple[Path, ...]) -> list[ConfigFile]:
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'), filename=str(path))
    except SyntaxError as error:
        raise _unreadable(path, error.lineno, outer, f'SyntaxError: {error.msg}') from error
    except ValueError as error:  # no text
        raise _unreadable(path, None, outer, str(error)) from error
    files = [ConfigFile(path, tree)]
    for name, value in _assignments(tree):
        for base in _names_of_bases(value) if name == _BASE else ():
            if (
                not isinstance(base, str) or '::' in base
            ):  # mmengine would look for a package of OpenMMLab that was installed with mim
                reason = f'`_base_` must be the path of a file, absolute or seen from the folder of the config, got {base!r}'
                raise _unreadable(path, value.lineno, outer, reason)
            file = Path(os.path.normpath(path.parent / base))
            if not file.is_file():
                raise _unreadable(path, value.lineno, outer, f'`_base_` names {str(file)!r}, which does not exist')
            if file in (*above, path):
                raise _unreadable(path, value.lineno, outer, f'`_base_` names {str(file)!r}, which has this file for a base')
            files += _files(file, outer=outer, above=(*above, path))
    return files


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that are set at the top level, each with its value."""
    for node in tree.body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                yield target.id, node.value


def _names_of_bases(value: ast.expr) -> Sequence[Any]:
    """Return the paths in the value of `_base_`; none where it is an expression, which mmengine computes."""
    try:
        names = ast.literal_eval(value)
    except ValueError:
        return []
    return names if isinstance(names, list | tuple) else (names,)


def _unreadable(path: Path, line: int | None, outer: Path, reason: str) -> ConfigError:
    base = '' if path == Path(os.path.abspath(outer)) else f' (a base of {str(outer)!r})'
    place = '' if line is None else f', line {line},'
    return ConfigError(f'config {str(path)!r}{base}{place} cannot be read: {reason}')


def read_files(path: Path, files: Sequence[ConfigFile]) -> Config:
    """Return what the files of a config say; `custom_imports` are not imported yet.

    Raises:
        ConfigError: a file cannot be read; the file and the line are named.
    """
    try:
        return Config.fromfile(str(path), import_custom_modules=False)
    except Exception as error:  # whatever a config's own Python raises
        ours = {str(file.path) for file in files}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in ours]
        file, line = (Path(frames[-1].filename), frames[-1].lineno) if frames else (Path(os.path.abspath(path)), None)
        raise _unreadable(file, line, path, f'{type(error).__name__}: {error}') from error


def made_of(files: Sequence[ConfigFile], name: str) -> list[str]:
    """Return the top-level names whose values are computed from that of the variable `name`."""
    assignments = (assignment for file in files for assignment in _assignments(file.tree))
    made = (target for target, value in assignments if any(_reads(part, name) for part in ast.walk(value)))
    return list(dict.fromkeys(made))


def _reads(node: ast.AST, name: str) -> bool:
    """Return whether a node is `name`, or `_base_.name`."""
    if isinstance(node, ast.Attribute):
        return node.attr == name and isinstance(node.value, ast.Name) and node.value.id == _BASE
    return isinstance(node, ast.Name) and node.id == name


def import_custom_modules(wanted: Any) -> list[str]:
    """Import what `custom_imports` names, so that the parts in it are registered; return the folders where the modules are.

    Raises:
        ConfigError: `custom_imports` is no dict(imports=[...]), or a module cannot be imported.
    """
    if not isinstance(wanted, Mapping) or not {'imports'} <= {*wanted} <= {'imports', 'allow_failed_imports'}:
        raise ConfigError(f"config key `custom_imports`: must be dict(imports=['module', ...]), got {wanted!r}.")
    names = wanted['imports']
    folders = []
    for name in [names] if isinstance(names, str) else names or ():
        try:
            folders.append(_folder_of(importlib.import_module(name)))
        except Exception as error:  # whatever the module's own Python raises
            if not (isinstance(error, ImportError) and wanted.get('allow_failed_imports')):
                raise ConfigError(f'config key `custom_imports`: {_not_imported(name, error)}') from error
            said = f'custom_imports: {_not_imported(name, error)}; it is left out, as `allow_failed_imports` asks.'
            print_log(said, 'current', logging.WARNING)
    return list(dict.fromkeys(folders))


def _folder_of(module: ModuleType) -> str:
    """Return the folder on the import path that a module comes from."""
    packages = list(getattr(module, '__path__', ()))  # the folder of a package, of whose file there may be none
    place = Path(packages[0] if packages else getattr(module, '__file__', '')).resolve()  # built-in ones have none
    return str(place.parents[module.__name__.count('.')])


def _not_imported(name: Any, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None and f'{name}.'.startswith(f'{error.name}.'):
        return (
            f'there is no module {error.name!r} ({name!r} is to be imported) beside the config, in the working directory or '
            "among what is installed; `my_net.py` is written 'my_net', `nets/my_net.py` 'nets.my_net'"
        )
    if isinstance(error, SyntaxError):
        place = f'{error.filename}:{error.lineno}'
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f'{frame.filename}:{frame.lineno}'
    return f'the module {name!r} cannot be imported: {type(error).__name__}: {error} [{place}]'
