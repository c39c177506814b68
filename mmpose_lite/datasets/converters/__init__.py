"""Other annotation formats -> COCO-style keypoint files."""

from mmpose_lite.datasets.converters.lsp import convert_lsp, read_lsp_joints

__all__ = ['convert_lsp', 'read_lsp_joints']
