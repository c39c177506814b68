"""What a name given for a config or a checkpoint means: a file, an address, a config of the package, or published weights."""

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from mmpose_lite.errors import ConfigError
from mmpose_lite.zoo.index import Entry, entries

PACKAGE = Path(__file__).resolve().parents[1]


def configs_folder() -> Path:
    """Return the folder of the configs: inside an installed package, beside the package in a checkout."""
    installed = PACKAGE / 'configs'
    return installed if installed.is_dir() else PACKAGE.parent / 'configs'


@cache
def shipped_configs() -> Mapping[str, Path]:
    """Return the configs that come with the package, bases aside, by file name without ending."""
    folder = configs_folder()
    files = (path for path in folder.rglob('*.py') if not any(part.startswith('_') for part in path.relative_to(folder).parts))
    return MappingProxyType({path.stem: path for path in sorted(files)})


def find_config(config: str | Path) -> Path:
    """Return the file of a config that is given by its path, by its name, or by the name of weights that fit it.

    Raises:
        ConfigError: it looks like a name, and nothing has it, or it is the name of a config with `.py` behind it. A path is
            returned as it is, whether there is such a file or not.
    """
    path, name = Path(config), str(config)
    if name.endswith('.py') and not path.exists() and path.stem in shipped_configs() and path.name == name:
        raise ConfigError(f'config file {name!r} does not exist; the config of that name is {path.stem!r}.')
    if path.is_file() or _looks_like_a_path(name):
        return path
    if name in entries():
        return configs_folder() / entries()[name].config
    if name in shipped_configs():
        return shipped_configs()[name]
    raise ConfigError(f'{name!r} is neither a file nor the name of a config.{_near(name, [*entries(), *shipped_configs()])}')


def find_checkpoint(checkpoint: str | Path, *, offline: bool | None = None) -> str | Path:
    """Return the file of weights that are given by their name, downloaded if need be; a path or an address is returned as it is.

    Raises:
        ConfigError: it looks like a name, and no weights have it.
        DownloadError: the file cannot be downloaded.
    """
    name = str(checkpoint)
    if Path(checkpoint).is_file() or '://' in name or _looks_like_a_path(name):
        return checkpoint
    return find_entry(name).fetch(offline=offline)


def find_entry(name: str) -> Entry:
    """Return the published weights of that name.

    Raises:
        ConfigError: there are none.
    """
    if name in entries():
        return entries()[name]
    if name in shipped_configs():
        of_config = [entry.name for entry in entries().values() if (configs_folder() / entry.config) == shipped_configs()[name]]
        others = f'; for this config there are {", ".join(of_config)}.' if of_config else ', and none for that config.'
        raise ConfigError(f'there are no published weights called {name!r}{others}')
    raise ConfigError(f'there are no published weights called {name!r}.{_near(name, entries())}')


def _looks_like_a_path(name: str) -> bool:
    return os.sep in name or Path(name).suffix != ''


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, set(names), n=3)
    return f' Near names: {", ".join(near)}.' if near else ' `python tools/zoo.py list` shows all names of the zoo.'
