"""Hooks of the runner."""

from mmpose_lite.engine.hooks.checkpoint import CheckpointHook, EarlyStoppingHook
from mmpose_lite.engine.hooks.draw import DrawPredictionsHook
from mmpose_lite.engine.hooks.draw_detection import DrawDetectionHook
from mmpose_lite.engine.hooks.draw_segmentation import DrawSegmentationHook
from mmpose_lite.engine.hooks.ema import ExpMomentumEMA
from mmpose_lite.engine.hooks.log import LogHook
from mmpose_lite.engine.hooks.monitor import MonitorHook, NonFiniteLossError
from mmpose_lite.engine.hooks.pipeline_switch import PipelineSwitchHook
from mmpose_lite.engine.hooks.progress import ProgressHook
from mmpose_lite.engine.hooks.summary import SummaryHook

__all__ = [
    'CheckpointHook',
    'DrawDetectionHook',
    'DrawPredictionsHook',
    'DrawSegmentationHook',
    'EarlyStoppingHook',
    'ExpMomentumEMA',
    'LogHook',
    'MonitorHook',
    'NonFiniteLossError',
    'PipelineSwitchHook',
    'ProgressHook',
    'SummaryHook',
]
