"""The state of the random generators, for a run that goes on as if it had never stopped."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def capture_rng_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's global and torch's generators, in plain types and tensors.

    GPUs are included once this process has used one.
    """
    name, keys, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002  the global one is what libraries use
    return dict(
        python=random.getstate(),
        numpy=(name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached_gaussian)),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    )


def restore_rng_state(state: Mapping[str, Any]) -> None:
    """Put back what `capture_rng_state` returned; the states of GPUs that this machine does not have are left out."""
    random.setstate(state['python'])
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state['torch'].cpu())
    if torch.cuda.is_available():
        for index, cuda_state in enumerate(state['cuda'][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(cuda_state.cpu(), index)
