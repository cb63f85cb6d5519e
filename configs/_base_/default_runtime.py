# Settings shared by the experiments of all tasks.
custom_imports = dict(imports=['fan_mm'], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=False,  # see fixed_size_runtime.py
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_level = 'INFO'
load_from = None
resume = False
