"""Other annotation formats -> COCO-style keypoint files."""

from mmpose_lite.datasets.converters.coco_parts import convert_halpe, convert_wholebody
from mmpose_lite.datasets.converters.lsp import convert_lsp, read_lsp_joints
from mmpose_lite.datasets.converters.mpii import convert_mpii, read_mpii_json, read_mpii_mat
from mmpose_lite.datasets.converters.rhd import convert_rhd, read_array_pickle

__all__ = [
    'convert_halpe',
    'convert_lsp',
    'convert_mpii',
    'convert_rhd',
    'convert_wholebody',
    'read_array_pickle',
    'read_lsp_joints',
    'read_mpii_json',
    'read_mpii_mat',
]
