"""Pose estimation, detection and segmentation, assembled from Python config files.

Importing this package registers nothing and imports no heavy module; see `mmpose_lite.apis` for the Python interface.
"""

from mmpose_lite.version import __version__

__all__ = ['__version__']
