# Stage 2 of STL on the embedded pictures, after fan_hybrid_toy_stl_teacher_imagenet.py.
_base_ = './fan_hybrid_toy_stl_teacher_imagenet.py'
teacher = 'work_dirs/fan_hybrid_toy_stl_teacher_imagenet/epoch_20.pth'

model = dict(
    type='STLStudent',
    teacher=teacher,
    token_labels='gumbel',
    head=dict(tokens='each'),
    train_cfg=dict(
        _delete_=True,
        augments=dict(type='fan_mm.models.mixing.MixupCutmix', mixup_alpha=0.2, switch_prob=0.1),
    ),
)
train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='JointRandAugment', num_policies=1, magnitude_level=5, teacher=True),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=0.2,
        fill_color=_base_.bgr_mean,
        fill_std=_base_.bgr_std,
    ),
    dict(type='PackPairedInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
