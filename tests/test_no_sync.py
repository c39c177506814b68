import pytest
import torch

from tests.no_sync import NoSync

VALUES = torch.arange(3.0)


@pytest.mark.parametrize(
    'call',
    [
        lambda: float(VALUES.sum()),
        lambda: VALUES.sum().item(),
        lambda: bool((VALUES > 0).any()),
        lambda: VALUES[VALUES > 0],
        lambda: VALUES.nonzero(),
        lambda: torch.masked_select(VALUES, VALUES > 0),
        lambda: VALUES.cpu(),
        lambda: VALUES.numpy(),
        lambda: VALUES.tolist(),
    ],
)
def test_what_waits_is_refused(call) -> None:
    with pytest.raises(AssertionError, match='waits for the device'), NoSync():
        call()


def test_what_does_not_wait_is_let_through() -> None:
    with NoSync():
        result = torch.where(VALUES > 0, VALUES, 0)[1:].sum()
    assert result.item() == 3
