"""What heads of whole images share, whatever they make of them."""

from torch import Tensor

from mmpose_lite.errors import ConfigError
from mmpose_lite.structures import SampleBatch


def loss_mask_of(owner: str, data_samples: SampleBatch) -> Tensor:
    """Return the map `loss_mask` (B, H, W) of the samples, 0 in the cells that are left out of every loss.

    Args:
        owner: the class that asks, as errors call it.
        data_samples: the batch.

    Raises:
        ConfigError: there is no mask.
    """
    if 'loss_mask' not in data_samples:
        raise ConfigError(
            f'{owner}: `data_samples` must have a loss_mask, got {data_samples.keys()} alone. Put '
            "dict(type='GenerateLossMask', mask_size=(w, h)) before PackPoseInputs in the pipeline; where nothing is to be "
            'left out it is 1 everywhere.'
        )
    return data_samples.loss_mask
