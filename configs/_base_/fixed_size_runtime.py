# For recipes whose steps all have inputs of one size: cuDNN tries its algorithms once, in the first step.
_base_ = './default_runtime.py'

env_cfg = dict(cudnn_benchmark=True)
