# The same network with cross entropy, to compare the losses.
_base_ = './deeplabv3plus_resnet18_pennfudan_256x256.py'

model = dict(decode_head=dict(loss_decode=[dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True)]))
