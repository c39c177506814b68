# Pedestrians of Penn-Fudan at 256x256: {data_root}/images, masks, instances_train.json (which lists 119 images) and
# instances_val.json (51). A fifth of the pixels is person, so background may have most of a part.
_base_ = './folder_256x256.py'

meta = 'person'
data_root = 'data/pennfudan'

prefix = dict(img='images', seg_map='masks')
train_dataloader = dict(dataset=dict(ann_file='instances_train.json', data_prefix=prefix))
val_dataloader = dict(dataset=dict(ann_file='instances_val.json', data_prefix=prefix))
test_dataloader = val_dataloader
