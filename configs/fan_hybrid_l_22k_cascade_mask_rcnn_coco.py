# FAN-L-Hybrid pretrained on ImageNet-22k (finetuned on 1k), Cascade Mask R-CNN.
# As published (FAN paper, Table 10, Cascade R-CNN): COCO val box mAP 55.1, COCO-C 42.0.
_base_ = './fan_hybrid_l_cascade_mask_rcnn_coco.py'
model = dict(backbone=dict(init_cfg=dict(checkpoint='fan_hybrid_large_in22k_1k.pth.tar')))
