"""Training by iterations that resumes without reading past batches."""

import torch
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop

from mmpose_lite.datasets.sampling import InfiniteSampler
from mmpose_lite.registry import LOOPS


@LOOPS.register_module()
class IterBasedTrainLoop(MMEngineIterBasedTrainLoop):
    """mmengine's loop of this name; a resumed run tells the sampler where to start instead of reading every past batch."""

    def run(self) -> torch.nn.Module:
        """Train until `max_iters`, or until a hook stops it."""
        sampler = self.dataloader.sampler
        if self._iter and not isinstance(sampler, InfiniteSampler):
            raise RuntimeError(
                'IterBasedTrainLoop: resuming needs train_dataloader.sampler of type InfiniteSampler, which can start in the '
                f'middle; got {type(sampler).__name__}.'
            )
        if isinstance(sampler, InfiniteSampler):
            sampler.skip(self._iter * self.dataloader.batch_size)
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model
