"""Loss on the tags of keypoints: alike within a person, different between people."""

# Letters: B batch, N people of one image, K keypoints, L numbers of a tag, H x W cells.
import torch
from torch import Tensor, nn

from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class AssociativeEmbeddingLoss(nn.Module):
    """Pull: squared distance of a person's tags from their mean; push: exp(-d^2) for the distance d of two people's means.

    The pull is averaged over the labelled keypoints of a person, then over the people of an image; the push over its ordered
    pairs of two people. Both are averaged over the images, where one without people (or pairs) counts as 0.

    Source: Newell et al., Associative Embedding, NeurIPS 2017, Sec. 3.3, arXiv:1611.05424, with exp(-d^2), the averages and the
    factor 0.5 of the published code.
    Differs: mmpose 1.x sums over the images and adds a constant to the push, each person's distance to themselves. Distances are
    of whole tags; for tags of one number, the only published ones, this is the same.

    Args:
        push_factor: factor of the push.
        loss_weight: factor of both.
    """

    def __init__(self, *, push_factor: float = 0.5, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.push_factor = push_factor
        self.loss_weight = loss_weight

    def forward(self, tags: Tensor, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return pull and push, scalars; 0 with zero gradient without people.

        Args:
            tags: (B, L * K, H, W), the K channels of the first number of the tag first.
            indices: (B, N, K) int64, the cell y * W + x of each keypoint.
            weights: (B, N, K), 1 where the keypoint is labelled, else 0.

        Raises:
            ValueError: the shapes do not fit together.
        """
        B, N, K = indices.shape
        if tags.ndim != 4 or len(tags) != B or tags.shape[1] % K or weights.shape != indices.shape:
            raise ValueError(
                'AssociativeEmbeddingLoss: `tags` must be (B, L * K, H, W), `indices` and `weights` (B, N, K), '
                f'got {tuple(tags.shape)}, {tuple(indices.shape)} and {tuple(weights.shape)}.'
            )
        of_cells = tags.flatten(2).unflatten(1, (-1, K))  # (B, L, K, H * W)
        index = indices.transpose(1, 2)[:, None].expand(-1, of_cells.shape[1], -1, -1)
        tag = of_cells.gather(3, index).permute(0, 3, 2, 1)  # (B, N, K, L)
        counts = weights.sum(dim=2)  # (B, N)
        means = (tag * weights[..., None]).sum(dim=2) / counts.clamp(min=1)[..., None]
        spread = ((tag - means[:, :, None]).square().sum(dim=3) * weights).sum(dim=2) / counts.clamp(min=1)
        is_person = (counts > 0).to(tag.dtype)
        people = is_person.sum(dim=1)  # (B,)
        pull = (spread.sum(dim=1) / people.clamp(min=1)).sum() / max(B, 1)
        closeness = torch.exp(-(means[:, :, None] - means[:, None]).square().sum(dim=3))
        is_pair = is_person[:, :, None] * is_person[:, None] * (1 - torch.eye(N, dtype=tag.dtype, device=tag.device))
        pairs = people * (people - 1)
        push = ((closeness * is_pair).sum(dim=(1, 2)) / pairs.clamp(min=1)).sum() / max(B, 1)
        return self.loss_weight * pull, self.loss_weight * self.push_factor * push
