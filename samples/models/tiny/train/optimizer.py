"""Muon for the matrices of the blocks, AdamW for everything else, the sign rule for the gates' biases."""
import torch

from formats import storage

# Newton-Schulz rounds towards the nearest orthogonal matrix: each pushes the singular values nearer to 1.
ROUNDS = ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046))
MUON_RATE, ADAM_RATE, WEIGHT_DECAY, BIAS_RATE = 0.02, 3e-3, 0.02, 0.002
NOT_MUON = ("embed.", "head.", "gate.weight", "weights_proj")


def orthogonalised(x):
    """x [batch, N, K]: every matrix with its singular values set to about 1."""
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for a, b, c in ROUNDS:
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Optimizer:
    def __init__(self, params):
        self.params = {k: v for k, v in params.items() if v.is_floating_point() and not k.endswith("gate.bias")}
        self.biases = {k: v for k, v in params.items() if k.endswith("gate.bias")}
        muon = [k for k, v in self.params.items() if v.dim() >= 2 and storage(k) in ("fp8", "fp4", "bf16")
                and not any(part in k for part in NOT_MUON)]
        self.adam_params = [v for k, v in self.params.items() if k not in muon]
        self.adam = torch.optim.AdamW(self.adam_params, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
        self.momentum = {k: torch.zeros_like(self.params[k]) for k in muon}
        self.by_shape = {}          # one batched Newton-Schulz for all matrices of a shape
        for name in muon:
            self.by_shape.setdefault(tuple(self.params[name].shape[-2:]), []).append(name)

    @torch.no_grad()
    def step(self, share, expert_load):
        """`share` of the full learning rates. A parameter without a gradient (a part not trained yet) stays."""
        torch.nn.utils.clip_grad_norm_(self.adam_params, 1.0)
        self.adam.param_groups[0]["lr"] = ADAM_RATE * share
        self.adam.step()
        for (rows, columns), names in self.by_shape.items():
            self.muon_step([k for k in names if self.params[k].grad is not None], rows, columns, MUON_RATE * share)
        for prefix, load in expert_load.items():
            if prefix + "gate.bias" in self.biases:
                self.biases[prefix + "gate.bias"] += BIAS_RATE * share * torch.sign(load.float().mean() - load)
        for p in self.params.values():
            p.grad = None

    def muon_step(self, names, rows, columns, rate):
        if not names:
            return
        updates = []
        for name in names:
            gradient, momentum = self.params[name].grad, self.momentum[name]
            momentum.lerp_(gradient, 0.05)
            updates.append(gradient.lerp(momentum, 0.95).reshape(-1, rows, columns))
        moves = orthogonalised(torch.cat(updates)) * (rate * max(1, rows / columns) ** 0.5)
        moves = moves.split([self.params[name].numel() // (rows * columns) for name in names])
        for name, move in zip(names, moves):
            p = self.params[name]
            p.mul_(1 - rate * WEIGHT_DECAY).sub_(move.reshape(p.shape))

    def state(self):
        return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        for name, value in state["momentum"].items():
            self.momentum[name].copy_(value)
