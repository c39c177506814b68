# COCO 2017 people, whole images at 512x512 (h x w) with maps at stride 4.
_base_ = './coco_bottomup.py'

input_size = (512, 512)  # (w, h)
mask_size = (128, 128)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomFlip'),
    dict(type='BottomupRandomAffine', input_size=input_size),
    dict(type='GenerateLossMask', mask_size=mask_size),
    dict(type='PackPoseInputs'),
]
# The short side is resized to the input size, the other one follows: every image has its own size, so batches hold one.
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='BottomupResize', input_size=input_size, resize_mode='expand', size_factor=32),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
