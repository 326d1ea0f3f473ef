"""DeepSeek-V4's forward pass over whole rows, for training: FP32, written from the equations, differentiable.

Parameters are a flat {name: tensor} in the published names (experts stacked). `Phase` says which parts of the published
arithmetic are in force: training starts with plain FP32 and ends with what the exported checkpoint will compute.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from formats import quantise_e2m1, quantise_e4m3, straight_through


@dataclass
class Phase:
    quantise: bool = False          # activations and KV rows in E4M3, the indexer's in E2M1
    select: bool = False            # CSA sees only the indexer's best entries
    train_index: bool = False       # the indexer learns (it costs time, and there is nothing to imitate at first)
    sinkhorn_rounds: int = 6        # 20 when published; the matrices hardly move after the tenth


def mix_in(mix, streams, base, scale, eps, rounds):
    """Hyper-connection before a sublayer. mix [N, 2m + mm], streams [N, m, n] -> x [N, n], post [N, m], comb [m, m, N].

    Sums over the streams are written out: as one compiled loop this takes a tenth of what bmm over 4x4 matrices takes.
    """
    m = streams.shape[1]
    pre = torch.sigmoid(mix[:, :m] * scale[0] + base[:m]) + eps
    post = 2 * torch.sigmoid(mix[:, m:2 * m] * scale[1] + base[m:2 * m])
    comb = (mix[:, 2 * m:] * scale[2] + base[2 * m:]).T.reshape(m, m, -1)       # [from, to, N]
    comb = torch.softmax(comb, 1) + eps
    comb = comb / (comb.sum(0, keepdim=True) + eps)
    for _ in range(rounds - 1):
        comb = comb / (comb.sum(1, keepdim=True) + eps)
        comb = comb / (comb.sum(0, keepdim=True) + eps)
    return sum(pre[:, j, None] * streams[:, j] for j in range(m)), post, comb.transpose(0, 1)


def mix_out(out, streams, post, comb):
    m = streams.shape[1]
    return torch.stack([post[:, k, None] * out + sum(comb[k, j][:, None] * streams[:, j] for j in range(m))
                        for k in range(m)], 1)


mix_in_compiled, mix_out_compiled = torch.compile(mix_in, dynamic=False), torch.compile(mix_out, dynamic=False)


def hadamard_matrix(size):
    h = torch.ones(1, 1)
    while h.shape[0] < size:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h * size**-0.5


class Model:
    def __init__(self, config, longest=1536):
        self.c, self.phase = config, Phase()
        self.rope_tables = {False: self.rope_table(False, longest), True: self.rope_table(True, longest)}
        self.hadamard = hadamard_matrix(config["index_head_dim"])
        self.expert_load = {}       # of the last call: layer prefix -> tokens per expert, for the gate's bias

    # ---- small parts

    def quantised(self, x, block=128):
        return straight_through(x, lambda v: quantise_e4m3(v, block)) if self.phase.quantise else x

    def quantised_fp4(self, x):
        return straight_through(x, quantise_e2m1) if self.phase.quantise else x

    def quantised_row(self, kv):
        """KV rows: all but the rotary part."""
        r = self.c["qk_rope_head_dim"]
        if not self.phase.quantise:
            return kv
        return torch.cat([self.quantised(kv[..., :-r].contiguous(), 64), kv[..., -r:]], -1)

    def norm(self, x, weight=None):
        return F.rms_norm(x, (x.shape[-1],), weight, self.c["rms_norm_eps"])

    def rope_table(self, compressed, length):
        """cos, sin [length, r/2]; layers with a compressor use YaRN."""
        c, r = self.c, self.c["qk_rope_head_dim"]
        theta = c["compress_rope_theta"] if compressed else c["rope_theta"]
        frequency = 1.0 / theta ** (torch.arange(0, r, 2, dtype=torch.float32) / r)
        if compressed:
            yarn = c["rope_scaling"]

            def corner(beta):
                turns = yarn["original_max_position_embeddings"] / (beta * 2 * math.pi)
                return r * math.log(turns) / (2 * math.log(theta))

            low, high = max(math.floor(corner(yarn["beta_fast"])), 0), min(math.ceil(corner(yarn["beta_slow"])), r - 1)
            ramp = ((torch.arange(r // 2, dtype=torch.float32) - low) / max(high - low, 0.001)).clamp(0, 1)
            frequency = frequency / yarn["factor"] * ramp + frequency * (1 - ramp)
        angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
        return angle.cos(), angle.sin()

    def rope(self, x, table, inverse=False):
        """x [B, T, (heads,) dim]: turns the interleaved pairs of the last r values."""
        r = self.c["qk_rope_head_dim"]
        cos, sin = (part if x.dim() == 3 else part[:, None] for part in table)
        if inverse:
            sin = -sin
        even, odd = x[..., -r::2], x[..., 1 - r::2]
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
        return turned if x.shape[-1] == r else torch.cat([x[..., :-r], turned], -1)

    # ---- hyper-connections: streams [B, T, m, n]

    def mixes(self, streams, w, name):
        flat = streams.flatten(2).flatten(0, 1)
        return (flat @ w[name + "_fn"].T) * torch.rsqrt(flat.square().mean(-1, keepdim=True) + self.c["rms_norm_eps"])

    def before(self, streams, w, name):
        b, t, m, n = streams.shape
        function = mix_in_compiled if torch.is_grad_enabled() else mix_in
        x, post, comb = function(self.mixes(streams, w, name), streams.reshape(b * t, m, n), w[name + "_base"],
                                 w[name + "_scale"], self.c["hc_eps"], self.phase.sinkhorn_rounds)
        return x.view(b, t, n), post, comb

    def after(self, out, streams, post, comb):
        function = mix_out_compiled if torch.is_grad_enabled() else mix_out
        return function(out.flatten(0, 1), streams.reshape(-1, *streams.shape[2:]), post, comb).view(streams.shape)

    def collapse(self, streams, w, name):
        """hc_head: the streams' weighted sum."""
        mix = self.mixes(streams, w, name) * w[name + "_scale"][0] + w[name + "_base"]
        gates = torch.sigmoid(mix) + self.c["hc_eps"]
        return (gates.view(*streams.shape[:3], 1) * streams).sum(2)

    # ---- attention

    def pooled(self, x, w, prefix, ratio, width):
        """The compressor's entries of all finished groups [B, T / ratio, width], before their norm."""
        b, t, _ = x.shape
        groups = t // ratio
        both = x[:, :groups * ratio] @ torch.cat([w[prefix + "wkv.weight"], w[prefix + "wgate.weight"]]).T
        k, z = (part.unflatten(1, (groups, ratio)) for part in both.chunk(2, -1))
        z = z + w[prefix + "ape"]
        if ratio == 4:              # eight tokens: the first channels of the group before, the last of its own

            def overlapped(v, nothing):
                first = v.new_full((b, 1, ratio, width), nothing)
                return torch.cat([torch.cat([first, v[:, :-1, :, :width]], 1), v[..., width:]], 2)

            k, z = overlapped(k, 0.0), overlapped(z, -math.inf)
        return (z.softmax(2) * k).sum(2)

    def compressed(self, x, w, prefix, ratio, width, table):
        rows = self.norm(self.pooled(x, w, prefix, ratio, width), w[prefix + "norm.weight"])
        return self.rope(rows, tuple(part[:rows.shape[1] * ratio:ratio] for part in table))

    def window_scores(self, q, kv):
        """Chunks of `window` queries see their own chunk and the one before: scores [B, T, H, 2 window] and keys."""
        b, t, heads, d = q.shape
        window = self.c["sliding_window"]
        chunks = t // window
        own = kv.view(b, chunks, window, d)
        keys = torch.cat([F.pad(own[:, :-1], (0, 0, 0, 0, 1, 0)), own], 2).view(b * chunks, 2 * window, d)
        i, j = torch.arange(window)[:, None], torch.arange(2 * window)[None] - window
        seen = ((j <= i) & (i - j < window))[None] & ((torch.arange(chunks)[:, None, None] > 0) | (j >= 0)[None])
        scores = torch.bmm(q.reshape(b * chunks, window * heads, d), keys.transpose(1, 2)) * d**-0.5
        scores = scores.view(b, chunks, window, heads, 2 * window).masked_fill(~seen[None, :, :, None], -math.inf)
        return scores.view(b, t, heads, 2 * window), keys

    def index_scores(self, x, qr, w, prefix, table):
        c = self.c
        heads, d = c["index_n_heads"], c["index_head_dim"]
        b, t = x.shape[:2]
        q = self.rope((qr @ w[prefix + "wq_b.weight"].T).unflatten(-1, (heads, d)), table)
        q = self.quantised_fp4(q @ self.hadamard)
        k = self.quantised_fp4(self.compressed(x, w, prefix + "compressor.", 4, d, table) @ self.hadamard)
        weight = (x @ w[prefix + "weights_proj.weight"].T) * (d**-0.5 * heads**-0.5)
        scores = torch.bmm(q.reshape(b, t * heads, d), k.transpose(1, 2)).view(b, t, heads, -1).relu()
        return (weight.unsqueeze(-2) @ scores).squeeze(-2)

    def attention(self, x, w, prefix, ratio):
        """Returns the sublayer's output and the indexer's loss (0 where there is no indexer, or none is trained)."""
        c, index_loss = self.c, 0.0
        b, t, _ = x.shape
        heads, d, groups = c["num_attention_heads"], c["head_dim"], c["o_groups"]
        window, table = c["sliding_window"], tuple(part[:t] for part in self.rope_tables[bool(ratio)])
        xq = self.quantised(x)
        qr = self.quantised(self.norm(xq @ w[prefix + "wq_a.weight"].T, w[prefix + "q_norm.weight"]))
        q = self.rope(self.norm((qr @ w[prefix + "wq_b.weight"].T).unflatten(-1, (heads, d))), table)
        kv = self.norm(xq @ w[prefix + "wkv.weight"].T, w[prefix + "kv_norm.weight"])
        kv = self.quantised_row(self.rope(kv, table))
        scores, window_keys = self.window_scores(q, kv)
        parts = [scores, w[prefix + "attn_sink"].view(1, 1, heads, 1).expand(b, t, heads, 1)]
        if ratio:
            entries = self.quantised_row(self.compressed(x, w, prefix + "compressor.", ratio, d, table))
            number = entries.shape[1]
            finished = torch.arange(number)[None] < (torch.arange(1, t + 1) // ratio)[:, None]
            kept = finished[None]
            select = self.phase.select and ratio == 4 and number > c["index_topk"]
            train_index = self.phase.train_index and ratio == 4
            if select or train_index:
                index = self.index_scores(x.detach(), qr.detach(), w, prefix + "indexer.", table)
                index = index.masked_fill(~kept, -1e9)
            if select:
                best = index.detach().topk(c["index_topk"], -1).indices
                kept = torch.zeros_like(index, dtype=torch.bool).scatter_(-1, best, True) & kept
            far = torch.bmm(q.reshape(b, t * heads, d), entries.transpose(1, 2)).view(b, t, heads, number) * d**-0.5
            parts.append(far.masked_fill(~kept[:, :, None], -math.inf))
        p = torch.cat(parts, -1).softmax(-1)
        near = p[..., :2 * window].reshape(-1, window * heads, 2 * window)
        o = torch.bmm(near, window_keys).view(b, t, heads, d)
        if ratio:
            p_far = p[..., 2 * window + 1:]
            o = o + torch.bmm(p_far.reshape(b, t * heads, number), entries).view(b, t, heads, d)
            if train_index:         # cross-entropy over all finished entries to the heads' mean attention
                target = p_far.detach().mean(2)
                index_loss = -(target * index.log_softmax(-1)).sum() / (target.sum() + 1e-6)
        o = self.rope(o, table, inverse=True).reshape(b, t, groups, -1)
        o = torch.einsum("btgd,grd->btgr", o, w[prefix + "wo_a.weight"].view(groups, c["o_lora_rank"], -1)).flatten(2)
        return self.quantised(o) @ w[prefix + "wo_b.weight"].T, index_loss

    # ---- mixture of experts

    def expert(self, xq, w13, w2, weight=None):
        limit = self.c["swiglu_limit"]
        gate, up = (xq @ w13.T).chunk(2, -1)
        h = F.silu(gate.clamp(max=limit)) * up.clamp(-limit, limit)
        return self.quantised(h if weight is None else h * weight[:, None]) @ w2.T

    def moe(self, x, w, prefix, tokens):
        c = self.c
        picked, number = c["num_experts_per_tok"], c["n_routed_experts"]
        b, t, n = x.shape
        x = x.reshape(-1, n)
        xq = self.quantised(x)
        score = F.softplus(x @ w[prefix + "gate.weight"].T).sqrt()
        if prefix + "gate.tid2eid" in w:
            chosen = w[prefix + "gate.tid2eid"][tokens.reshape(-1)]
        else:
            chosen = (score.detach() + w[prefix + "gate.bias"]).topk(picked, -1).indices
        weight = score.gather(-1, chosen)
        weight = (weight / weight.sum(-1, keepdim=True) * c["routed_scaling_factor"]).flatten()
        order = chosen.flatten().argsort(stable=True)
        load = torch.bincount(chosen.flatten(), minlength=number)
        self.expert_load[prefix] = load
        rows = xq[order // picked].split(load.tolist())
        weights = weight[order].split(load.tolist())
        w13, w2 = torch.cat([w[prefix + "experts.w1"], w[prefix + "experts.w3"]], 1), w[prefix + "experts.w2"]
        routed = torch.cat([self.expert(rows[e], w13[e], w2[e], weights[e]) for e in range(number)])
        shared = prefix + "shared_experts."
        out = self.expert(xq, torch.cat([w[shared + "w1.weight"], w[shared + "w3.weight"]]), w[shared + "w2.weight"])
        return out.index_add(0, order // picked, routed).view(b, t, n)

    # ---- the whole

    def block(self, streams, w, prefix, ratio, tokens):
        x, post, comb = self.before(streams, w, prefix + "hc_attn")
        out, index_loss = self.attention(self.norm(x, w[prefix + "attn_norm.weight"]), w, prefix + "attn.", ratio)
        streams = self.after(out, streams, post, comb)
        x, post, comb = self.before(streams, w, prefix + "hc_ffn")
        out = self.moe(self.norm(x, w[prefix + "ffn_norm.weight"]), w, prefix + "ffn.", tokens)
        return self.after(out, streams, post, comb), index_loss

    def forward(self, w, tokens, following=None):
        """tokens [B, T], T a multiple of 128; following: the token after each, where the draft head is wanted too.
        Returns the states that go to the output head (main, draft or None) and the indexers' loss."""
        c = self.c
        layers, index_loss = c["num_hidden_layers"], 0.0
        streams = F.embedding(tokens, w["embed.weight"]).unsqueeze(2).expand(-1, -1, c["hc_mult"], -1)
        for layer in range(layers):
            streams, loss = self.block(streams, w, f"layers.{layer}.", c["compress_ratios"][layer], tokens)
            index_loss = index_loss + loss
        main = self.norm(self.collapse(streams, w, "hc_head"), w["norm.weight"])
        if following is None:
            return main, None, index_loss
        p = "mtp.0."
        embedded = self.norm(F.embedding(following, w["embed.weight"]), w[p + "enorm.weight"])
        embedded = self.quantised(embedded) @ w[p + "e_proj.weight"].T
        state = self.quantised(self.norm(streams, w[p + "hnorm.weight"])) @ w[p + "h_proj.weight"].T
        streams, _ = self.block(embedded.unsqueeze(2) + state, w, p, c["compress_ratios"][layers], following)
        return main, self.norm(self.collapse(streams, w, p + "hc_head"), w[p + "norm.weight"]), index_loss
