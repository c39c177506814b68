"""mmengine's hooks that follow one metric, knowing whether our metrics should rise or fall."""

from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook

from mmpose_lite.registry import HOOKS

# Parts of metric names in lower case; '/ap' is that of coco/AP, and not of a heatmap's loss, '_map' that of coco/bbox_mAP.
RISING = ('/ap', '/ar', '_map', '_ar', 'pck', 'auc', 'iou', 'dice', 'acc', 'precision', 'recall')
FALLING = ('loss', 'epe')


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's hook of this name; `save_best` needs no `rule` for the metrics of this project."""

    _default_greater_keys = RISING
    _default_less_keys = FALLING


@HOOKS.register_module()
class EarlyStoppingHook(MMEngineEarlyStoppingHook):
    """mmengine's hook of this name; `monitor` needs no `rule` for the metrics of this project."""

    _default_greater_keys = RISING
    _default_less_keys = FALLING
