"""Gated attention unit, with the state-dict keys of RTMPose."""

# Letters: B batch, K tokens (keypoints), D their dimensions, E hidden and S attention dimensions.
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.drop_path import DropPath


class ScaleNorm(nn.Module):
    """Divide each token by its root mean square, times one learned factor `g`.

    Source: Nguyen and Salazar, Transformers without Tears, IWSLT 2019, Sec. 2.2, arXiv:1910.05895.
    """

    def __init__(self, dim: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = dim**-0.5
        self.eps = eps
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) of (..., D)."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.scale
        return x / norm.clamp(min=self.eps) * self.g


class Scale(nn.Module):
    """One learned factor for each of the last dimension's entries."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) of (..., D)."""
        return x * self.scale


class GatedAttentionUnit(nn.Module):
    """Self-attention of one head whose kernel is a squared ReLU, multiplied by a gate, plus the scaled input.

    Source: Hua et al., Transformer Quality in Linear Time, ICML 2022, Sec. 2 and Fig. 2, arXiv:2202.10447, as RTMPose uses it
    (Jiang et al., Sec. 3.3.1, arXiv:2303.07399): without position encoding and relative bias.

    Args:
        dim: D of the tokens, in and out.
        attention_dims: S of queries and keys.
        expansion_factor: E / D.
        dropout_rate: of the attention kernel.
        drop_path_rate: of the whole branch.
    """

    def __init__(
        self,
        dim: int,
        *,
        attention_dims: int = 128,
        expansion_factor: float = 2,
        dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.split = [int(dim * expansion_factor)] * 2 + [attention_dims]
        self.o = nn.Linear(self.split[0], dim, bias=False)
        self.uv = nn.Linear(dim, sum(self.split), bias=False)
        # Queries and keys are two affine images of one base: row 0 and row 1.
        self.gamma = nn.Parameter(torch.rand(2, attention_dims))
        self.beta = nn.Parameter(torch.rand(2, attention_dims))
        self.ln = ScaleNorm(dim)
        self.res_scale = Scale(dim)
        self.dropout = nn.Dropout(dropout_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, K, D) of tokens (B, K, D)."""
        gate, value, base = functional.silu(self.uv(self.ln(x))).split(self.split, dim=-1)
        query, key = (base[:, :, None] * self.gamma + self.beta).unbind(dim=2)
        kernel = functional.relu(query @ key.transpose(1, 2) / self.split[2] ** 0.5).square()
        return self.res_scale(x) + self.drop_path(self.o(gate * (self.dropout(kernel) @ value)))
