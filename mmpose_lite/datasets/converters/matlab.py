"""Reading MATLAB files."""

from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError


def read_matlab(path: str | Path, name: str, *, argument: str, as_objects: bool = False) -> Any:
    """Return one variable of a MATLAB file.

    Args:
        path: of the file.
        name: of the variable.
        argument: what the caller calls the file, for errors.
        as_objects: structs become objects with attributes, and axes of length 1 are dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no MATLAB file (up to version 7), or has no such variable.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'read_matlab: the file {str(path)!r} given as `{argument}` does not exist.')
    try:
        content = loadmat(path, struct_as_record=not as_objects, squeeze_me=as_objects)
    except (ValueError, NotImplementedError, TypeError, MatReadError) as error:
        raise ValueError(f'{path}: not a MATLAB file of version 4 to 7: {error}.') from error
    if name not in content:
        names = sorted(name for name in content if not name.startswith('__'))
        raise ValueError(f'{path}: the variable `{name}` is missing, the file holds {names}.')
    return content[name]
