from torch import nn, optim
from methods.base import Method
def build_optimizer(method, lr, lr_image, momentum, weight_decay):
    image = {id(p) for p in method.clip.image.parameters()}
    groups = {"image": [], "other": []}
    for p in method.parameters():
        if p.requires_grad: groups["image" if id(p) in image else "other"].append(p)
    rates = {"image": lr if lr_image is None else lr_image, "other": lr}
    return optim.SGD([{"params": v, "lr": rates[k], "name": k} for k, v in groups.items() if v], momentum=momentum, weight_decay=weight_decay)
