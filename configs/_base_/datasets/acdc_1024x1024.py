# ACDC: 1600 training images of fog, night, rain and snow with crops of 1024x1024, and 406 uncropped
# validation images. `tools/test.py` pools all conditions; `conditions=['fog']` selects one.
_base_ = ['./cityscapes_1024x1024.py']
dataset_type = 'ACDCDataset'
data_root = 'data/acdc/'
crop_size = (1024, 1024)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(1920, 1080), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1920, 1080), keep_ratio=True),
    dict(type='LoadAnnotations'),  # after Resize: the ground truth keeps its own size
    dict(type='PackSegInputs'),
]
dataset = dict(_delete_=True, type=dataset_type, data_root=data_root)
train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='val', pipeline=test_pipeline))
test_dataloader = val_dataloader
del dataset
