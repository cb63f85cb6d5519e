# STL, stage 2 (ICCV 2023): FAN-B-Hybrid learns the classes, and its tokens learn the labels that the
# frozen teacher of stage 1 gives to the same places of the same picture.
_base_ = './fan_hybrid_b_stl_teacher_imagenet.py'
# a checkpoint of stage 1 (its averaged weights are used), or NVIDIA's file as it was released; the
# recipe's is the best one, best_accuracy_top1_epoch_N.pth
teacher = 'work_dirs/fan_hybrid_b_stl_teacher_imagenet/epoch_360.pth'

model = dict(type='STLStudent', teacher=teacher, token_labels='gumbel', head=dict(tokens='each'))
# crop, flip and geometric operations are shared; colours, erasing and mixing are the student's
train_pipeline = _base_.train_pipeline
train_pipeline[3]['teacher'] = True
train_pipeline[5]['type'] = 'PackPairedInputs'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
