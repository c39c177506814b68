"""What a run leaves for people: metrics.json and a picture of its curves."""

import json
import math
import os
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmpose_lite.engine.hooks.log import CSV_LOG, JSON_LOG, position
from mmpose_lite.registry import HOOKS
from mmpose_lite.visualization.curves import plot_run

LEFT = ('metrics.json', 'curves.png', 'predictions/', JSON_LOG, CSV_LOG)  # for people; checkpoints are named as they are written


@HOOKS.register_module()
class SummaryHook(Hook):
    """After every evaluation: metrics.json (`split`, `epoch`, `iter`, `metrics`, `best`); at the end: curves.png."""

    priority = 'LOWEST'

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write metrics.json."""
        hub = runner.message_hub
        best = {key: hub.get_info(key) for key in ('best_score', 'best_ckpt') if hub.get_info(key) is not None}
        epoch, iteration = position(runner)
        content = dict(split='val', epoch=epoch, iter=iteration, metrics=metrics or {}, best=best)
        write_metrics(Path(runner.work_dir) / 'metrics.json', content)

    @master_only
    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write test_metrics.json."""
        write_metrics(Path(runner.work_dir) / 'test_metrics.json', dict(split='test', metrics=metrics or {}))

    @master_only
    def after_train(self, runner: Any) -> None:
        """Draw the curves, and say what there is to look at."""
        folder = Path(runner.work_dir)
        if (folder / JSON_LOG).exists():
            plot_run(folder / JSON_LOG, folder / 'curves.png', title=folder.name)
        left = [name for name in LEFT if (folder / name.rstrip('/')).exists()]
        runner.logger.info(f'The run is in {folder}: {", ".join(left)}.')


def write_metrics(path: Path, content: dict[str, Any]) -> None:
    """Write a metrics file in one step, so that a reader never sees half of it; a metric that is not a number becomes null.

    Args:
        path: of the file; its folder is made.
        content: what to write; `metrics` are values by name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in content['metrics'].items()
    }
    content = {**content, 'metrics': metrics}
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(json.dumps(content, indent=2, default=float) + '\n')
    os.replace(temporary, path)
