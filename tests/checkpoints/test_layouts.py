"""Weights under other names: renamed back and forth, and compared with the networks that the names come from."""

import re

import pytest
import torch
import torchvision
from torch import Tensor, nn

from mmpose_lite.checkpoints.layouts import convert_layout, convert_to_fit
from mmpose_lite.checkpoints.weights import load_state
from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import BACKBONES, MODELS
from mmpose_lite.zoo.names import shipped_configs
from tests.tiny_training import topdown

VIT = dict(
    type='VisionTransformer', arch=dict(embed_dims=24, num_layers=2, num_heads=3), img_size=(64, 48), patch_padding=0
)  # 4 x 3 patches


def random_weights(module: nn.Module) -> nn.Module:
    """Give every tensor values of its own: those of constructors are often equal."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.1, 1.0)
    return module.eval()


def prefixed(module: nn.Module, prefix: str = 'backbone.') -> dict[str, Tensor]:
    return {prefix + name: value for name, value in module.state_dict().items()}


def renamed(state_dict: dict[str, Tensor], *rules: tuple[str, str]) -> dict[str, Tensor]:
    """Apply every rule to every name."""
    result = {}
    for name, value in state_dict.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def pose_model(**head: object) -> nn.Module:
    backbone = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)
    return random_weights(MODELS.build(topdown(backbone, head=dict(in_channels=64, **head))))


# ------------------------------------------------------------------------------------------------------------------ OpenMMLab
@pytest.mark.parametrize('num_convs', [0, 1, 2])
def test_mmpose_0(num_convs: int) -> None:
    """There the convolutions of a head, each with norm and relu, and the last one are one sequence, if there is more than one."""
    model = pose_model(conv_out_channels=[8] * num_convs, conv_kernel_sizes=[3] * num_convs)
    rules = [(r'head\.conv_layers', 'head.final_layer'), (r'^head\.', 'keypoint_head.')]
    if num_convs:
        rules.insert(0, (r'head\.final_layer\.', f'head.final_layer.{3 * num_convs}.'))
    theirs = renamed(model.state_dict(), *rules)
    conversion = convert_layout(theirs)
    assert conversion.layout == 'mmpose 0.x'
    assert_same(conversion.state_dict, model.state_dict())

    fresh = pose_model(conv_out_channels=[8] * num_convs, conv_kernel_sizes=[3] * num_convs)
    assert load_state(fresh, conversion.state_dict, strict=True).complete
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(fresh(x, None, mode='tensor'), model(x, None, mode='tensor'))


def test_heads_of_several_stages_keep_their_names() -> None:
    """mmpose 0.x: `multi_final_layers` (Hourglass), `predict_layers` (MSPN)."""
    names = ('multi_final_layers.0.weight', 'predict_layers.3.conv_layers.1.bn.weight', 'deconv_layers.0.weight')
    conversion = convert_layout({f'keypoint_head.{name}': torch.ones(1) for name in names})
    assert list(conversion.state_dict) == [f'head.{name}' for name in names]


def test_offsets_of_mmdet_1() -> None:
    dcn = dict(dcn=dict(type='DCNv2'), stage_with_dcn=(False, True, True, True))
    ours = prefixed(random_weights(BACKBONES.build(dict(type='ResNet', depth=50, stem_channels=8, base_channels=8, **dcn))))
    theirs = renamed(ours, (r'conv2\.conv_offset', 'conv2_offset'))
    assert sum('conv2_offset' in name for name in theirs) == 2 * 13
    conversion = convert_to_fit(theirs, ours)
    assert conversion.layout == 'mmdet 1.x'
    assert_same(conversion.state_dict, ours)


def test_fcos_of_mmdet_1() -> None:
    with torch.device('meta'):
        model = MODELS.build(load_config(shipped_configs()['fcos_resnet50_caffe_fpn_gn_coco']).model)
    ours = model.state_dict()
    theirs = renamed(ours, (r'^bbox_head\.conv_(cls|reg|centerness)\.', r'bbox_head.fcos_\1.'))
    assert len(theirs.keys() - ours.keys()) == 6
    conversion = convert_to_fit(theirs, ours)
    assert conversion.layout == 'mmdet 1.x'
    assert conversion.state_dict.keys() == ours.keys()


def test_simcc_of_a_beta() -> None:
    conversion = convert_layout(
        {'head.simplebaseline_head.final_layer.bias': torch.ones(1), 'head.mlp_head_x.bias': torch.ones(1)}
    )
    assert conversion.layout == 'a beta of mmpose 1.0'
    assert list(conversion.state_dict) == ['head.deconv_head.final_layer.bias', 'head.mlp_head_x.bias']


# --------------------------------------------------------------------------------------------------------------- transformers
def to_timm(backbone: nn.Module) -> dict[str, Tensor]:
    return renamed(
        backbone.state_dict(),
        (r'^ln1\.', 'norm.'),
        (r'^layers\.', 'blocks.'),
        (r'\.ln(\d)\.', r'.norm\1.'),
        (r'ffn\.layers\.0\.0', 'mlp.fc1'),
        (r'ffn\.layers\.1', 'mlp.fc2'),
        (r'patch_embed\.projection', 'patch_embed.proj'),
    )


@pytest.mark.parametrize('with_class_token', [True, False])
def test_a_vit_of_timm(with_class_token: bool) -> None:
    ours = random_weights(BACKBONES.build(VIT))
    theirs = to_timm(ours) | {'head.weight': torch.ones(5, 24), 'fc_norm.weight': torch.ones(24)}
    if with_class_token:
        theirs['cls_token'] = torch.ones(1, 1, 24)
        theirs['pos_embed'] = torch.cat((torch.full((1, 1, 24), 9.0), theirs['pos_embed']), dim=1)
    conversion = convert_layout(theirs)
    assert conversion.layout == 'timm, ViT'
    assert_same(conversion.state_dict, prefixed(ours))
    assert set(conversion.dropped) == {'head.weight', 'fc_norm.weight'} | ({'cls_token'} if with_class_token else set())


def test_a_vit_of_timm_gives_the_same_features() -> None:
    timm = pytest.importorskip('timm')
    theirs = random_weights(
        timm.create_model('vit_tiny_patch16_224', img_size=32, class_token=False, global_pool='avg', fc_norm=False)
    )
    ours = BACKBONES.build(
        dict(type='VisionTransformer', arch=dict(embed_dims=192, num_layers=12, num_heads=3), img_size=(32, 32), patch_padding=0)
    )
    part = nn.Module()
    part.backbone = ours.eval()
    load_state(part, convert_layout(theirs.state_dict()).state_dict, strict=True)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0].flatten(2).transpose(1, 2), theirs.forward_features(x))


def test_no_position_is_cut_where_the_class_token_has_none() -> None:
    state = {'blocks.0.norm1.weight': torch.ones(4), 'patch_embed.proj.bias': torch.ones(4), 'cls_token': torch.ones(1, 1, 4)}
    for given, kept in ((196, 196), (197, 196), (193, 192)):
        conversion = convert_layout(state | {'pos_embed': torch.ones(1, given, 4)})
        assert conversion.state_dict['backbone.pos_embed'].shape[1] == kept


def test_a_vit_of_torchvision_gives_the_same_features() -> None:
    theirs = torchvision.models.VisionTransformer(32, 16, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=96, num_classes=5)
    theirs = random_weights(theirs)
    arch = dict(embed_dims=24, num_layers=2, num_heads=3)
    ours = BACKBONES.build(dict(type='VisionTransformer', arch=arch, img_size=(32, 32), patch_padding=0)).eval()
    conversion = convert_layout(theirs.state_dict())
    assert conversion.layout == 'torchvision, ViT'
    assert set(conversion.dropped) == {'class_token', 'heads.head.weight', 'heads.head.bias'}
    part = nn.Module()
    part.backbone = ours
    assert load_state(part, conversion.state_dict, strict=True).complete
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        tokens = theirs._process_input(x) + theirs.encoder.pos_embedding[:, 1:]  # without the class token, as ours
        tokens = theirs.encoder.ln(theirs.encoder.layers(tokens))
        torch.testing.assert_close(ours(x)[0].flatten(2).transpose(1, 2), tokens)


def test_vitpose_adds_a_position_to_all_patches() -> None:
    """Its backbone keeps the position of a class token it does not have."""
    ours = random_weights(BACKBONES.build(VIT))
    theirs = {f'backbone.{name}': value for name, value in to_timm(ours).items()}
    for leaf in ('weight', 'bias'):
        theirs[f'backbone.last_norm.{leaf}'] = theirs.pop(f'backbone.norm.{leaf}')
    everywhere = torch.randn(1, 1, 24)
    theirs['backbone.pos_embed'] = torch.cat((everywhere, theirs['backbone.pos_embed'] - everywhere), dim=1)
    theirs['keypoint_head.final_layer.bias'] = torch.ones(17)
    conversion = convert_layout(theirs)
    torch.testing.assert_close(conversion.state_dict.pop('backbone.pos_embed'), ours.pos_embed.detach())
    assert_same(
        conversion.state_dict,
        {k: v for k, v in prefixed(ours).items() if 'pos_embed' not in k} | {'head.final_layer.bias': torch.ones(17)},
    )


def test_a_class_token_that_is_not_used_goes() -> None:
    ours = random_weights(BACKBONES.build(VIT))
    theirs = prefixed(ours) | {'backbone.cls_token': torch.ones(1, 1, 24)}
    theirs['backbone.pos_embed'] = torch.cat((torch.full((1, 1, 24), 9.0), theirs['backbone.pos_embed']), dim=1)
    conversion = convert_layout(theirs)
    assert_same(conversion.state_dict, prefixed(ours))
    assert conversion.dropped == {'backbone.cls_token': 'the class token (its position is dropped too)'}


# -------------------------------------------------------------------------------------------------------------- convolutions
def test_a_resnet_of_torchvision() -> None:
    theirs = torchvision.models.resnet18()
    conversion = convert_layout(theirs.state_dict())
    assert set(conversion.dropped) == {'fc.weight', 'fc.bias'}
    part = nn.Module()
    part.backbone = BACKBONES.build(dict(type='ResNet', depth=18))
    assert load_state(part, conversion.state_dict, strict=True).complete


def test_simple_baselines_of_its_authors() -> None:
    model = pose_model()
    conversion = convert_layout(renamed(model.state_dict(), (r'^(backbone|head)\.', '')))
    assert_same(conversion.state_dict, model.state_dict())


def test_a_seresnet_of_timm() -> None:
    ours = random_weights(BACKBONES.build(dict(type='SEResNet', depth=50, stem_channels=8, base_channels=8)))
    theirs = renamed(ours.state_dict(), (r'se_layer\.conv(\d)\.conv', r'se.fc\1'))
    conversion = convert_layout(theirs | {'fc.weight': torch.ones(1)})
    assert_same(conversion.state_dict, prefixed(ours))


def hrnet(**args: object) -> nn.Module:
    extra = {
        f'stage{n}': dict(
            num_modules=1,
            num_branches=n,
            block='BOTTLENECK' if n == 1 else 'BASIC',
            num_blocks=(1,) * n,
            num_channels=tuple(4 * 2**i for i in range(n)),
        )
        for n in (1, 2, 3, 4)
    }
    return random_weights(BACKBONES.build(dict(type='HRNet', extra=extra, **args)))


def test_hrnet_of_its_authors() -> None:
    ours = hrnet()
    theirs = ours.state_dict()
    pose = convert_layout(theirs | {'final_layer.weight': torch.ones(17)})
    assert_same(pose.state_dict, prefixed(ours) | {'head.final_layer.weight': torch.ones(17)})
    classifier = {'incre_modules.0.0.conv1.weight', 'downsamp_modules.0.0.weight', 'final_layer.0.weight', 'classifier.weight'}
    imagenet = convert_layout(theirs | {name: torch.ones(1) for name in classifier})
    assert_same(imagenet.state_dict, prefixed(ours))
    assert set(imagenet.dropped) == classifier


def test_hrnet_of_timm() -> None:
    timm = pytest.importorskip('timm')
    conversion = convert_layout(timm.create_model('hrnet_w18_small').state_dict())
    assert conversion.layout == 'HRNet of its authors or timm'
    assert {name.split('.')[1] for name in conversion.state_dict} >= {'conv1', 'layer1', 'transition1', 'stage4'}


# -------------------------------------------------------------------------------------------------------------------- all
def test_ours_is_left_alone() -> None:
    model = pose_model(conv_out_channels=(8,), conv_kernel_sizes=(3,))
    conversion = convert_layout(model.state_dict())
    assert (conversion.layout, conversion.renamed, conversion.dropped) == ('', {}, {})
    assert_same(conversion.state_dict, model.state_dict())


def test_a_conversion_must_fit_better() -> None:
    """A bare backbone has the names of torchvision's: for itself it is right as it is, for a whole model it is not."""
    bare = {'conv1.weight': torch.ones(1), 'layer1.0.conv1.weight': torch.ones(1)}
    assert convert_to_fit(bare, bare.keys()).layout == ''
    assert convert_to_fit(bare, ['conv1.weight', 'backbone.conv1.weight']).layout == ''
    assert list(convert_to_fit(bare, ['backbone.conv1.weight']).state_dict) == [f'backbone.{name}' for name in bare]


def test_two_names_do_not_become_one() -> None:
    with pytest.raises(ValueError, match=r'two tensors would be called `head\.a` \(one is `keypoint_head\.a`\)'):
        convert_layout({'head.a': torch.ones(1), 'keypoint_head.a': torch.ones(1)})


def test_what_was_done_is_told_in_a_few_lines() -> None:
    state = {f'blocks.{n}.norm1.{leaf}': torch.ones(1) for n in range(12) for leaf in ('weight', 'bias')}
    state |= {'patch_embed.proj.weight': torch.ones(1), 'pos_embed': torch.ones(1, 4, 1), 'head.weight': torch.ones(1)}
    assert convert_layout(state).lines() == [
        'renamed 24 x blocks.N.norm1 -> backbone.layers.N.ln1',
        'renamed 1 x patch_embed.proj -> backbone.patch_embed.projection',
        'put backbone. before 1 names',
        'dropped 1 x head: the classifier',
    ]
