"""Pictures of poses and curves of training runs. Drawing and plots only: nothing here runs a network."""

from mmpose_lite.visualization.curves import draw_curves, plot_run, read_log
from mmpose_lite.visualization.detection import draw_objects, draw_outcomes, draw_precision_recall
from mmpose_lite.visualization.draw import draw_heatmaps, draw_left_out, draw_poses, draw_side_by_side
from mmpose_lite.visualization.segmentation import draw_confusion_matrix, draw_segmentation

__all__ = [
    'draw_confusion_matrix',
    'draw_curves',
    'draw_heatmaps',
    'draw_left_out',
    'draw_objects',
    'draw_outcomes',
    'draw_poses',
    'draw_precision_recall',
    'draw_segmentation',
    'draw_side_by_side',
    'plot_run',
    'read_log',
]
