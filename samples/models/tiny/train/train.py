"""Trains the tiny model and exports it:  train.py OUTDIR [--start CHECKPOINT] [--state FILE]

Without --start the model comes from nothing; with it, a finished checkpoint (its weights and its tokenizer) is trained
on. Everything is fixed in steps, never in minutes, so that the outcome does not depend on how busy the machine is. One
learning-rate schedule over the whole run (its fall does most of the work), see Plan. `--state FILE` keeps the state
there every few minutes and goes on from it where it exists.
"""
import argparse
import math
import os
import random
import shutil
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import data
from config import CONFIG
from export import export, load
from formats import as_stored
from initialise import initial_parameters
from model import Model, Phase
from optimizer import Optimizer
from tokenizer import PAD, Encoder, build_tokenizer


@dataclass(frozen=True)
class Plan:
    """How long, and the shares of the run at which something begins."""
    steps: int
    peak: float         # share of the full learning rates at the height
    tools: float        # rows of 512 tokens with tools or effort texts (before that: 256 tokens of plain talk only)
    long: float         # rows of 1024 tokens
    fall: float         # the learning rate's fall: a cosine down to FLOOR
    draft: float        # training of the MTP block and the indexer
    published: float    # fake quantisation and index selection: the arithmetic as published


FROM_NOTHING = Plan(steps=3500, peak=1.0, tools=0.12, long=0.25, fall=0.30, draft=0.40, published=0.70)
CONTINUED = Plan(steps=360, peak=0.6, tools=0.0, long=0.0, fall=0.0, draft=0.0, published=0.0)
SEED, TOKENS_PER_STEP = 1, 2048
WARM_UP, FLOOR = 30, 0.03
DRAFT_WEIGHT, INDEX_WEIGHT = 0.3, 0.3
PROBE_EVERY, KEEP_EVERY = 200, 50
PROBED = ["greeting", "add think", "add non-think", "fact 100", "fact 600", "tool call non-think", "tool result"]


def learning_rate_share(plan, step):
    falling = max(0.0, (step / plan.steps - plan.fall) / (1 - plan.fall))
    return min(1.0, (step + 1) / WARM_UP) * max(FLOOR, plan.peak * 0.5 * (1 + math.cos(math.pi * falling)))


def row_kind(plan, done, draw):
    """Length of this step's rows, and whether they have tools. `done`: share of the run."""
    if done >= plan.long and draw < 0.45:
        return 1024, False
    if done >= plan.tools and draw < 0.68:
        return 512, True
    return 256, False


def batch(encoder, rng, length, tools):
    """Rows of length + 2, so that every position has its next token and the one after."""
    rows = TOKENS_PER_STEP // length
    pairs = [encoder.row(rng, length + 2, tools) for _ in range(rows)]
    return torch.tensor([ids for ids, _ in pairs]), torch.tensor([weights for _, weights in pairs])


def weighted_loss(states, head, targets, weights):
    """Cross-entropy where a weight is set; and how many of the answers' own tokens (weight above 0.9) are right."""
    places = (weights > 0).flatten().nonzero().squeeze(1)
    logits = states.flatten(0, 1)[places] @ head.T
    targets, weights = targets.flatten()[places], weights.flatten()[places]
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
    answers = weights > 0.9
    right = (logits.detach().argmax(-1) == targets)[answers].float().mean().item() if answers.any() else 1.0
    return loss, right


def train_step(plan, model, params, optimizer, encoder, rng, step):
    done = step / plan.steps
    published, draft_on = done >= plan.published, done >= plan.draft
    model.phase = Phase(quantise=published, select=published, train_index=draft_on,
                        sinkhorn_rounds=10 if published else 6)
    length, tools = row_kind(plan, done, rng.random())
    tokens, weights = batch(encoder, rng, length, tools)
    w = as_stored(params) if published else params
    main, draft, index_loss = model.forward(w, tokens[:, :length], tokens[:, 1:-1] if draft_on else None)
    loss, right = weighted_loss(main, w["head.weight"], tokens[:, 1:-1], weights[:, 1:-1])
    figures, total = {"loss": loss.item(), "right": right}, loss
    if draft_on:
        draft_loss, draft_right = weighted_loss(draft, w["head.weight"], tokens[:, 2:], weights[:, 2:])
        total = loss + DRAFT_WEIGHT * draft_loss + INDEX_WEIGHT * index_loss
        figures |= {"draft right": draft_right, "index": index_loss.item()}
    total.backward()
    optimizer.step(learning_rate_share(plan, step), model.expert_load)
    return length, figures


@torch.no_grad()
def quick_probes(model, params, encoder, number=8):
    """Per skill, the share of held-out answers that greedy decoding gives word for word (by teacher forcing)."""
    w = as_stored(params) if model.phase.quantise else params
    result = {}
    for skill in PROBED:
        probes = data.probes(skill, number, encoder.count, "quick")
        items = [(encoder.ids(p.prompt), encoder.ids(p.completion)) for p in probes]
        length = -(-max(len(prompt) + len(completion) for prompt, completion in items) // 128) * 128
        right = 0
        for begin in range(0, number, 8):
            part = items[begin:begin + 8]
            tokens = torch.tensor([p + c + [PAD] * (length - len(p) - len(c)) for p, c in part])
            main, _, _ = model.forward(w, tokens)
            for row, (p, c) in zip(main, part):
                right += (row[len(p) - 1:len(p) + len(c) - 1] @ w["head.weight"].T).argmax(-1).tolist() == c
        result[skill] = round(100 * right / number)
    return result


class Progress:
    """Prints a line every half minute: where the run is, how long it still takes, the means since the last line."""

    def __init__(self, last):
        self.last, self.printed, self.steps, self.sums = last, time.time(), 0, {}

    def add(self, step, length, figures):
        self.steps += 1
        for name, value in figures.items():
            self.sums.setdefault((length, name), []).append(value)
        now = time.time()
        if now - self.printed < 30:
            return
        seconds = (now - self.printed) / self.steps
        means = "   ".join(f"rows of {n}: " + ", ".join(f"{name} {sum(v) / len(v):.3f}"
                                                       for (m, name), v in self.sums.items() if m == n)
                           for n in sorted({m for m, _ in self.sums}))
        print(f"step {step + 1}/{self.last}   {TOKENS_PER_STEP / seconds:.0f} tokens/s   about "
              f"{(self.last - step - 1) * seconds / 60:.0f} min left   {means}", flush=True)
        self.printed, self.steps, self.sums = now, 0, {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir")
    parser.add_argument("--start", help="folder of a finished checkpoint to train on from")
    parser.add_argument("--state", help="file that keeps the state of an unfinished run")
    parser.add_argument("--threads", type=int, default=2, help="1 is faster on a machine that is busy with other work")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    os.makedirs(options.outdir, exist_ok=True)
    tokenizer_path = os.path.join(options.outdir, "tokenizer.json")
    if options.start:
        plan, (params, config) = CONTINUED, load(options.start)
        shutil.copyfile(os.path.join(options.start, "tokenizer.json"), tokenizer_path)
    else:
        plan, params, config = FROM_NOTHING, initial_parameters(CONFIG, SEED), CONFIG
        build_tokenizer(tokenizer_path, config["vocab_size"])
    params = {k: v.requires_grad_(v.is_floating_point() and not k.endswith("gate.bias")) for k, v in params.items()}
    encoder, rng, first = Encoder(tokenizer_path), random.Random(SEED), 0
    model, optimizer = Model(config), Optimizer(params)
    if options.state and os.path.exists(options.state):
        kept = torch.load(options.state, weights_only=False)
        first = kept["step"]
        rng.setstate(kept["rng"])
        optimizer.load(kept["optimizer"])
        for name, value in kept["params"].items():
            params[name].data.copy_(value)
    print(f"{sum(v.numel() for v in params.values() if v.is_floating_point()):,} parameters, "
          f"{plan.steps} steps of {TOKENS_PER_STEP} tokens, from step {first}", flush=True)
    progress = Progress(plan.steps)
    for step in range(first, plan.steps):
        progress.add(step, *train_step(plan, model, params, optimizer, encoder, rng, step))
        if (step + 1) % PROBE_EVERY == 0:
            print("held-out, word for word (%):", quick_probes(model, params, encoder), flush=True)
        if options.state and (step + 1) % KEEP_EVERY == 0:
            torch.save({"step": step + 1, "rng": rng.getstate(), "optimizer": optimizer.state(),
                        "params": {k: v.detach() for k, v in params.items()}}, options.state + ".new")
            os.replace(options.state + ".new", options.state)
    export(params, config, options.outdir)
    if options.state and os.path.exists(options.state):
        os.remove(options.state)
    print("exported to", options.outdir, flush=True)


if __name__ == "__main__":
    main()
