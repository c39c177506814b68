"""Comparison with the reference networks: same state-dict keys, same outputs for weights that depend on names and shapes only."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # relative error in float32 that counts as agreement


def weights_module(shared: Path) -> ModuleType:
    """Return the module with `fill_(model)` and `inputs(shape)`."""
    spec = importlib.util.spec_from_file_location('parity_weights', shared / 'parity' / 'weights.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def functions(shared: Path) -> dict[str, np.ndarray]:
    """Return the stored inputs and results of single functions."""
    with np.load(shared / 'parity' / 'functions.npz') as arrays:
        return {key: arrays[key] for key in arrays}


@dataclass(frozen=True)
class Reference:
    """A reference network: shapes by state-dict key, the input's shape, and outputs by name where they are stored."""

    keys: dict[str, tuple[int, ...]]
    input_shape: tuple[int, ...]
    outputs: dict[str, np.ndarray]

    @classmethod
    def load(cls, shared: Path, name: str) -> 'Reference':
        path = shared / 'parity' / 'models' / name
        spec = json.loads(path.with_suffix('.json').read_text())
        outputs: dict[str, np.ndarray] = {}
        if path.with_suffix('.npz').is_file():
            with np.load(path.with_suffix('.npz')) as arrays:
                outputs = {key: arrays[key] for key in arrays}
        keys = {key: tuple(shape) for key, shape in spec['keys'].items()}
        return cls(keys, tuple(spec.get('input_shape', ())), outputs)

    def check_keys(self, model: nn.Module, *, prefixes: tuple[str, ...] = ('',)) -> None:
        """Demand the same keys and shapes in the same order, of the parts whose keys start with `prefixes`."""
        ours = {k: tuple(v.shape) for k, v in model.state_dict().items() if k.startswith(prefixes)}
        theirs = {k: v for k, v in self.keys.items() if k.startswith(prefixes) and not k.startswith('data_preprocessor.')}
        assert theirs, f'the reference has no key that starts with {prefixes}'
        assert ours == theirs, (
            f'missing {sorted(theirs.keys() - ours.keys())[:5]}, more {sorted(ours.keys() - theirs.keys())[:5]}'
        )
        assert list(ours) == list(theirs), 'same keys, other order: optimizer states number the parameters by it'

    def check_output(self, key: str, ours: Tensor) -> None:
        """Demand an output within TOLERANCE; large outputs are stored as every step-th value."""
        theirs = self.outputs[key]
        values = ours.detach().numpy()
        if f'{key}@step' in self.outputs:
            assert values.shape == tuple(self.outputs[f'{key}@shape'])
            values = values.reshape(-1)[:: int(self.outputs[f'{key}@step'])]
        assert values.shape == theirs.shape
        assert relative_error(values, theirs) < TOLERANCE, key


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return |ours - theirs| / |theirs - mean(theirs)|."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - theirs.mean()))


def checkpoint_tensors(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a training checkpoint that is known to be harmless."""
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']
