import torch

from mmpose_lite.models.layers import DropPath, GatedAttentionUnit, ScaleNorm


def test_scale_norm_by_hand() -> None:
    norm = ScaleNorm(2)
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 12.5**0.5)
    assert not norm(torch.zeros(2)).isnan().any()


def test_gated_attention_by_a_loop_over_tokens() -> None:
    unit = GatedAttentionUnit(6, attention_dims=4, expansion_factor=2)
    x = torch.randn(2, 3, 6)
    expected = torch.empty_like(x)
    for b in range(2):
        parts = [torch.nn.functional.silu(unit.uv.weight @ (t / t.square().mean().sqrt())).split([12, 12, 4]) for t in x[b]]
        for i in range(3):
            total = torch.zeros(12)
            for _, value, base in parts:
                query = parts[i][2] * unit.gamma[0] + unit.beta[0]
                key = base * unit.gamma[1] + unit.beta[1]
                total = total + torch.relu(query @ key / 2).square() * value  # 2: the root of attention_dims
            expected[b, i] = x[b, i] + unit.o.weight @ (parts[i][0] * total)
    torch.testing.assert_close(unit(x), expected)


def test_tokens_of_other_samples_do_not_matter() -> None:
    unit, x = GatedAttentionUnit(6), torch.randn(3, 4, 6)
    torch.testing.assert_close(unit(x[[2, 0, 1]]), unit(x)[[2, 0, 1]])


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    assert drop.eval()(x) is x
    y = drop.train()(x)
    kept = y[:, 0, 0] > 0
    assert torch.equal(y, kept[:, None, None].expand_as(y) / 0.75)
    assert abs(kept.float().mean().item() - 0.75) < 0.03
