"""Pictures of poses and curves of training runs. Drawing and plots only: nothing here runs a network."""

from mmpose_lite.visualization.curves import draw_curves, plot_run, read_log
from mmpose_lite.visualization.draw import draw_heatmaps, draw_poses, draw_side_by_side

__all__ = ['draw_curves', 'draw_heatmaps', 'draw_poses', 'draw_side_by_side', 'plot_run', 'read_log']
