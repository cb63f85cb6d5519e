# For recipes with a constant input size: cuDNN benchmarks its algorithms once, in the first step.
_base_ = './default_runtime.py'

env_cfg = dict(cudnn_benchmark=True)
