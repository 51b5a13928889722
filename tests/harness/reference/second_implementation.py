"""Reference vectors of sizes of our own choice, from a second implementation in plain torch.

It shares no code with the methods: embeddings come from open_clip, mathematics from the papers. So it shows that the
replay of vectors depends on no size of the files in `tests/golden`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from tests.harness.reference.made_up_vectors import BATCH, CLASSES, NEW, SCALE, SHOTS, Made, World, train, unit


def tip(world: World, trains: bool) -> Made:
    (beta_0, alpha_0), views = (2.5, 1.5), 6
    scale, steps = (9.0, 40.0), (7, 3)
    features = world.views(views)
    keys, values = unit(features.mean(dim=0)), F.one_hot(world.labels, CLASSES).float()
    tested, text = unit(world.tested), unit(world.text)

    def logits(image: Tensor, beta: float, alpha: float) -> Tensor:
        return SCALE * image @ text.T + alpha * torch.exp(-beta * (1 - image @ keys.T)) @ values

    options = {"SEARCH_SCALE": list(scale), "SEARCH_STEP": list(steps), "INIT_BETA": beta_0, "INIT_ALPHA": alpha_0}
    options |= {"AUGMENT_EPOCH": views, "SHOTS": SHOTS}
    found = {"fs_labels": world.labels, "cache.view_features": features, "cache.keys": keys, "cache.values": values}
    settings: dict[str, Any] = {"name": None}
    if trains:
        order = list(range(CLASSES * SHOTS // BATCH)) * 4
        keys = keys.clone().requires_grad_()
        optimizer = torch.optim.AdamW([keys], lr=2e-3, eps=1e-3, weight_decay=0.1, betas=(0.8, 0.99))
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(order))
        x, y = unit(world.views(1)[0]).view(-1, BATCH, 48), world.labels.view(-1, BATCH)
        accuracies, kept = [], []

        def after_step(step: int) -> None:
            if (step + 1) % len(x) == 0:
                accuracies.append(world.accuracy(logits(tested, beta_0, alpha_0)))
                kept.append(keys.detach().clone())

        found |= train(
            {"adapter.weight": keys}, optimizer, [(x[b], y[b]) for b in order],
            lambda image: logits(image, beta_0, alpha_0), scheduler=scheduler, after_step=after_step,
        )  # fmt: skip
        keys = kept[accuracies.index(max(accuracies))]
        found |= {"train_labels": y, "best.adapter.weight": keys}
        found["epoch_accuracy"] = torch.tensor(accuracies, dtype=torch.float64)
        schedule = {"name": "CosineAnnealingLR", "T_max": len(order), "stepped": "per iteration"}
        settings = {"name": "AdamW", "lr": 2e-3, "eps": 1e-3, "betas": [0.8, 0.99], "weight_decay": 0.1}
        settings |= {"batch_order": order, "scheduler": schedule}
    else:
        found["eval_logits_base_init"] = logits(tested, beta_0, alpha_0)
    grid = [[0.1 + j * (scale[i] - 0.1) / steps[i] for j in range(steps[i])] for i in range(2)]
    table = torch.tensor([[world.accuracy(logits(tested, b, a)) for a in grid[1]] for b in grid[0]]).double()
    row, column = divmod(int(table.flatten().argmax()), steps[1])
    best = grid[0][row], grid[1][column]
    found |= {"search_accuracy": table, "search_best": torch.tensor(best, dtype=torch.float64)}
    return options, settings, ["adapter.weight"] if trains else [], found | {"eval_logits_base": logits(tested, *best)}


def taskres(world: World) -> Made:
    residual = torch.zeros(CLASSES, 48, requires_grad=True)

    def logits(x: Tensor) -> Tensor:
        return 12.0 * unit(x) @ unit(world.text + 0.7 * residual).T

    optimizer = torch.optim.Adam([residual], lr=3e-3, weight_decay=0.01)
    x, y = world.views(1)[0].view(-1, BATCH, 48), world.labels.view(-1, BATCH)
    found = train({"prompt_learner.text_feature_residuals": residual}, optimizer, list(zip(x, y, strict=True)), logits)
    found |= {"const.base_text_features": world.text, "eval_logits_base": logits(world.tested)}
    settings = {"name": "Adam", "lr": 3e-3, "weight_decay": 0.01}
    options = {"RESIDUAL_SCALE": 0.7, "ENHANCED_BASE": "none"}
    return options, settings, ["prompt_learner.text_feature_residuals"], found


def prototypes(world: World, constrained: bool) -> Made:
    views, epochs, size = 7, 3, 4
    bank, labels = world.views(views).flatten(0, 1), world.labels.repeat(views)
    weight = world.text.clone().requires_grad_()
    zero_shot = (12.0 * unit(bank) @ unit(world.text).T).softmax(dim=-1)
    multipliers = torch.stack([zero_shot[labels == c, c].mean() for c in range(CLASSES)])

    def logits(x: Tensor) -> Tensor:
        return 12.0 * unit(x) @ unit(weight).T

    def penalty() -> Tensor:
        distance = (multipliers * (weight - world.text).square().sum(dim=-1)).sum() / CLASSES
        return distance if constrained else torch.zeros(())

    order = torch.stack([torch.randperm(len(bank)) for _ in range(epochs)])
    steps = CLASSES * SHOTS // size
    batches = [(bank[r], labels[r]) for e in order for r in e[: steps * size].split(size)]
    optimizer = torch.optim.SGD([weight], lr=0.05, momentum=0.8)
    found = train({"adapter.prototypes": weight}, optimizer, batches, logits, penalty)
    found |= {"fs_labels": world.labels, "epoch_order": order, "cache.features": bank, "cache.labels": labels}
    found |= {"eval_logits_base": logits(world.tested)}
    found |= {"const.alpha_constraint": multipliers} if constrained else {}
    options = {"INIT": "ZS", "CONSTRAINT": "l2" if constrained else "none", "VIEWS": views, "EPOCHS": epochs}
    settings = {"name": "SGD", "lr": 0.05, "momentum": 0.8, "weight_decay": 0.0}
    return options | {"BATCH_SIZE": size}, settings, ["adapter.prototypes"], found


def lp_plus_plus(world: World) -> Made:
    epochs, shots = 33, CLASSES * SHOTS
    image, text, tested = unit(world.views(1)[0]), unit(world.text), unit(world.tested)
    weight = torch.stack([image[world.labels == c].sum(dim=0) for c in range(CLASSES)]).requires_grad_()
    bias = torch.empty(CLASSES).uniform_(-1 / math.sqrt(48), 1 / math.sqrt(48)).requires_grad_()
    similarity = image @ text.T
    start = 250 * torch.stack([similarity[world.labels == c, c].mean() for c in range(CLASSES)]).mean()
    alpha = start.expand(1, CLASSES).clone().requires_grad_()
    step_w = 4 * shots / torch.linalg.eigvalsh(image.T @ image).max()
    step_alpha = shots / (4 * similarity.square().sum(dim=0).max())
    history, accuracies = [alpha.detach()[0].clone()], []
    total = torch.zeros_like(alpha)

    def logits(x: Tensor) -> Tensor:
        return x @ weight.T + bias + alpha * (x @ text.T)

    def after_step(epoch: int) -> None:
        with torch.no_grad():
            total.add_(alpha.grad)
            alpha.grad.zero_()
            if epoch % 10 == 9:
                alpha.sub_(step_alpha * total)
            history.append(alpha[0].clone())
            accuracies.append(world.accuracy(logits(tested)))

    found = {"eval_logits_base_init": logits(tested)}
    optimizer = torch.optim.SGD([weight, bias], lr=step_w.item(), momentum=0.9)
    weights = {"classifier.weight": weight, "classifier.bias": bias, "alpha": alpha}
    found |= train(weights, optimizer, [(image, world.labels)] * epochs, logits, after_step=after_step)
    best = max(range(epochs), key=lambda epoch: (accuracies[epoch], epoch))
    found |= {"fs_labels": world.labels, "alpha_history": torch.stack(history), "const.lr_w": step_w.double()}
    found |= {"const.lr_alpha": step_alpha.double(), "const.init_alpha": start.double()}
    found |= {"val_accuracy": torch.tensor(accuracies, dtype=torch.float64), "best_epoch": torch.tensor(best)}
    found |= {"eval_logits_base": logits(tested)}
    settings = {"name": "SGD", "lr": "const.lr_w", "momentum": 0.9, "batch": "all shots"}
    return {"TRAIN_EPOCH": epochs, "SHOTS": SHOTS}, settings, list(weights), found


def linear_probe(world: World) -> Made:
    image, tested = unit(world.views(1)[0]).double(), unit(world.tested).double()

    x, n = image.numpy(), len(image)
    own = F.one_hot(world.labels, CLASSES).double().numpy()

    def fitted(c: float) -> tuple[Tensor, Tensor]:
        def objective(flat: "np.ndarray") -> "tuple[float, np.ndarray]":
            w = flat.reshape(CLASSES, 49)
            weight, bias = w[:, :48], w[:, 48]
            logits = x @ weight.T + bias
            probabilities = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
            loss = -(own * np.log(probabilities)).sum() / n + (weight**2).sum() / (2 * c * n)
            error = (probabilities - own) / n
            gradient = np.concatenate([error.T @ x + weight / (c * n), error.sum(axis=0)[:, None]], axis=1)
            return loss, gradient.ravel()

        settings = {"maxiter": 1000, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
        start = np.zeros(CLASSES * 49)
        found = torch.tensor(minimize(objective, start, method="L-BFGS-B", jac=True, options=settings).x)
        return found.view(CLASSES, 49)[:, :48], found.view(CLASSES, 49)[:, 48]

    def accuracy(c: float) -> float:
        weight, bias = fitted(c)
        return world.accuracy(tested @ weight.T + bias)

    tried, options = [], {"C_LIST": [3.0, 0.02, 200], "NUM_STEP": 3, "SHOTS": SHOTS}
    accuracies = [accuracy(c) for c in options["C_LIST"]]
    tried += options["C_LIST"]
    best = tried[accuracies.index(max(accuracies))]
    left, right = best / 10, best * 10
    for _ in range(options["NUM_STEP"]):
        tried += [left, right]
        accuracies += [accuracy(left), accuracy(right)]
        middle = math.sqrt(left * right)
        goes_right = accuracies[-1] > accuracies[-2]
        best = right if goes_right else left
        left, right = (middle, right) if goes_right else (left, middle)
    found = {"fs_labels": world.labels, "search_C": torch.tensor(tried, dtype=torch.float64)}
    found["search_val_accuracy"] = torch.tensor(accuracies, dtype=torch.float64) / 100
    for name, c in (("final", best), ("fixed_C0.5", 0.5), ("fixed_C2", 2.0)):
        weight, bias = fitted(c)
        found |= {f"{name}.coef": weight, f"{name}.intercept": bias}
        if name != "final":
            found[f"{name}.eval_logits"] = tested @ weight.T + bias
        else:
            found["eval_logits_base"] = tested @ weight.T + bias
    found |= {"final.C": torch.tensor(best, dtype=torch.float64)}
    return options, {"name": "sklearn LogisticRegression lbfgs"}, [], found


def gda(world: World, base_to_new: bool) -> Made:
    views, alphas = 6, [0.003, 0.2, 4.0]
    x, labels = unit(world.views(views)).flatten(0, 1), world.labels.repeat(views)
    means = torch.stack([x[labels == c].mean(dim=0) for c in range(CLASSES)])
    if base_to_new:
        precision = torch.linalg.pinv(torch.stack([torch.cov(x[labels == c].T) for c in range(CLASSES)]).mean(dim=0))
    else:
        scatter = (x - means[labels]).T @ (x - means[labels])
        precision = 48 * torch.linalg.pinv(scatter + scatter.trace() / (len(x) - 1) * torch.eye(48))
    weight = precision @ means.T
    bias = math.log(1 / CLASSES) - torch.einsum("cd,de,ce->c", means, precision, means) / 2
    tested, text = unit(world.tested), unit(world.text)

    def logits(alpha: float) -> Tensor:
        return SCALE * tested @ text.T + alpha * (tested @ weight + bias)

    accuracies = [world.accuracy(logits(alpha)) for alpha in alphas]
    best = alphas[accuracies.index(max(accuracies))]
    found = {"fs_labels": world.labels, "cache.features": x, "const.class_means": means, "const.precision": precision}
    found |= {"const.W": weight, "const.b": bias, "search_accuracy": torch.tensor(accuracies, dtype=torch.float64)}
    found |= {f"search_logits_{j}": logits(alpha) for j, alpha in enumerate(alphas)}
    found |= {"search_best": torch.tensor(best, dtype=torch.float64), "eval_logits_base": logits(best)}
    if base_to_new:
        new_means, total = [], torch.zeros(48, 48)
        for u in unit(world.text_new):
            near = x[(x @ u).topk(64).indices]
            new_means.append((near.sum(dim=0) + 16 * u) / 80)
            covariance = (near - u).T @ (near - u) / 63
            total += 48 * torch.linalg.pinv(63 * covariance + covariance.trace() * torch.eye(48)) / NEW
        mu = torch.stack(new_means)
        new_bias = math.log(1 / NEW) - torch.einsum("cd,de,ce->c", mu, total, mu) / 2
        found |= {"const.new_W": total @ mu.T, "const.new_b": new_bias}
        plain = SCALE * tested @ unit(world.text_new).T
        found["eval_logits_new"] = plain + best * (tested @ (total @ mu.T) + new_bias)
    return {"VIEWS": views, "ALPHAS": alphas}, {"name": None}, [], found


def prolip(world: World) -> Made:
    views, epochs = 5, 7
    projection = world.clip.visual.proj
    first = projection.detach().clone()
    weight = first.clone().requires_grad_()
    world.clip.visual.proj = None  # open_clip then returns what comes before it
    pooled, tested = world.views(views), world.clip.encode_image(world.eval_images)
    world.clip.visual.proj = projection
    order = [(e + 1) % views for e in range(epochs)]
    text = unit(world.text)

    def logits(x: Tensor) -> Tensor:
        return SCALE * unit(x @ weight) @ text.T

    optimizer = torch.optim.Adam([weight], lr=2e-3, eps=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    batches = [(pooled[v], world.labels) for v in order]
    found = train(
        {"image_encoder.proj": weight}, optimizer, batches, logits,
        lambda: 0.3 * (weight - first).square().sum(), scheduler,
    )  # fmt: skip
    found |= {"cache.pre_projection": pooled, "eval_logits_base": logits(tested)}
    found["eval_logits_new"] = SCALE * unit(tested @ weight) @ unit(world.text_new).T
    settings = {"name": "Adam", "lr": 2e-3, "eps": 1e-3, "batch": "all images of one view", "view_order": order}
    settings["scheduler"] = {"name": "CosineAnnealingLR", "T_max": epochs, "stepped": "per epoch = per step"}
    options = {"LR": 2e-3, "LAMBDA": 0.3, "VIEWS": views, "EPOCHS": epochs}
    return options, settings, ["image_encoder.proj"], found


MAKERS: dict[str, Callable[[World], Made]] = {
    "tip_adapter": lambda world: tip(world, trains=False),
    "tip_adapter_f": lambda world: tip(world, trains=True),
    "taskres": taskres,
    "zs_lp": lambda world: prototypes(world, constrained=False),
    "clap": lambda world: prototypes(world, constrained=True),
    "lp_plus_plus": lp_plus_plus,
    "linear_probe": linear_probe,
    "gda": lambda world: gda(world, base_to_new=False),
    "gda_base2new": lambda world: gda(world, base_to_new=True),
    "prolip": prolip,
}
