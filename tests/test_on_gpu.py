import numpy as np
import pytest
import torch

from tests.on_gpu import GPU, PretendGPU, put


@pytest.mark.parametrize(
    'call',
    [
        lambda there: there + torch.ones(3),
        lambda there: torch.cat([there, torch.ones(3)]),
        lambda there: torch.ones(3)[there.long()],
        lambda there: there.clamp(min=torch.zeros(3)),
        lambda there: there.where(torch.ones(3) > 0, there),
        lambda there: torch.stack([torch.ones(3).to(there.device), torch.arange(3.0)]),
    ],
)
def test_what_mixes_devices_is_refused(call) -> None:
    with pytest.raises(AssertionError, match='mixes tensors of a GPU and of the host'), PretendGPU():
        call(put(torch.ones(3)))


@pytest.mark.parametrize('call', [lambda there: there.numpy(), lambda there: np.asarray(there)])
def test_numpy_sees_nothing_of_it(call) -> None:
    with pytest.raises(AssertionError, match='of a tensor on a GPU is refused'), PretendGPU():
        call(put(torch.ones(3)))


@pytest.mark.parametrize(
    'call',
    [
        lambda there: there.new_tensor([1.0]),
        lambda there: torch.tensor([1.0], device=there.device),
        lambda there: torch.ones(3).to(there.device),
        lambda there: torch.ones(3).to(there),
        lambda there: torch.ones(3).cuda(),
    ],
)
def test_copies_that_wait_are_refused_when_asked(call) -> None:
    there = put(torch.ones(3))
    with PretendGPU():
        assert call(there).is_cuda
    with pytest.raises(AssertionError, match='copies from the host, and waits'), PretendGPU(waits=False):
        call(there)


def test_what_is_made_of_it_is_there_too() -> None:
    host, there = torch.arange(4.0).requires_grad_(), put(torch.ones(4))
    with PretendGPU(waits=False):
        moved = host.to(there.device, non_blocking=True)
        assert (host.device.type, moved.device, host.is_cuda, moved.is_cpu) == ('cpu', GPU, False, False)
        values, rows = (moved * there)[1:].topk(2)
        assert values.is_cuda
        assert rows.device == GPU
        assert torch.zeros(2, device=rows.device).is_cuda
        assert values.new_zeros(2).is_cuda
        assert torch.as_tensor(values, device=values.device).is_cuda
        assert not values.cpu().is_cuda
        assert values.is_cuda
        assert values.tolist() == [3.0, 2.0]
        np.testing.assert_array_equal(values.detach().cpu().numpy(), [3.0, 2.0])
    values.sum().backward()
    assert host.grad.tolist() == [0, 0, 1, 1]
