# Foggy Cityscapes with its densest fog, beta 0.02, and the labels of Cityscapes; otherwise like Cityscapes.
# Without `conditions`, all three densities are read: each scene three times.
_base_ = ['./cityscapes_1024x1024.py']
dataset_type = 'FoggyCityscapesDataset'
data_root = 'data/foggy_cityscapes/'
cityscapes = '../cityscapes'  # relative to data_root; labels as trainIds or labelIds

dataset = dict(
    _delete_=True,
    type=dataset_type,
    data_root=data_root,
    conditions=['beta_0.02'],
    data_prefix=dict(seg_map_path=cityscapes),
)
train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='val', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
del dataset
