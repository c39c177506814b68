"""The Python interface: what the command lines call.

The names are imported when they are first asked for, so that a command line which imports `apis.cli` answers at once.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    'OksTracker': 'mmpose_lite.apis.tracking',
    'OneEuroSmoother': 'mmpose_lite.apis.smoothing',
    'box_detector': 'mmpose_lite.apis.detection',
    'detect': 'mmpose_lite.apis.detection',
    'inference': 'mmpose_lite.apis.infer',
    'init_model': 'mmpose_lite.apis.infer',
    'segment': 'mmpose_lite.apis.segmentation',
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f'mmpose_lite.apis has no attribute {name!r}; it has {", ".join(_MODULES)}.')
