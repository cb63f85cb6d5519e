# FAN-B-Hybrid pretrained on ImageNet-22k (finetuned on 1k at 384 pixels), Cascade Mask R-CNN.
# As published (FAN paper, Table 14): COCO-C box mAP 40.6.
_base_ = './fan_hybrid_b_cascade_mask_rcnn_coco.py'
model = dict(backbone=dict(init_cfg=dict(checkpoint='fan_hybrid_base_in22k_1k_384.pth.tar')))
