"""The weights at step 0. Two things are not random, because learning them from noise takes longer than all the rest:

1. Looking back. No linear has a bias, so no head can attend by position alone until some constant direction has grown
   in the embeddings. Here every embedding shares one vector from the start, and the four heads of layer 0 use it: they
   look 1, 2, 3 and 4 tokens back. Copying grows from that.
2. Compressed entries. A CSA compressor starts as a plain mean of the window's own key-value rows (same wkv, same norm),
   so a query that finds a token in the window also finds the entry that holds it. From random compressors nothing was
   carried beyond the window after two million tokens.
"""
import math

import torch

FAST_PAIRS = 10             # rotary pairs that turn fast enough to tell neighbours apart
INDEX_WEIGHT_GAIN = 0.1     # index scores start near zero: from large ones their cross-entropy never recovers


class Init:
    def __init__(self, config, seed):
        self.c, self.generator, self.params = config, torch.Generator().manual_seed(seed), {}

    def random(self, *shape, std=1.0):
        return torch.randn(*shape, generator=self.generator) * std

    def linear(self, rows, columns, gain=1.0):
        return self.random(rows, columns, std=gain / math.sqrt(columns))

    def hyper_connection(self, name, layer, head=False):
        """Each sublayer starts by reading mostly one stream, and streams mostly keep what they hold."""
        m, n = self.c["hc_mult"], self.c["hidden_size"]
        rows = m if head else 2 * m + m * m
        base = self.random(rows, std=0.1)
        base[:m] += torch.where(torch.arange(m) == layer % m, 0.8, -1.1)
        if not head:
            base[m:2 * m] += self.random(m, std=0.5)
            base[2 * m:] += 4.0 * torch.eye(m).flatten()
        self.params[name + "_fn"] = self.random(rows, m * n, std=0.02)
        self.params[name + "_base"] = base
        self.params[name + "_scale"] = torch.full((1 if head else 3,), 0.5)

    def compressor(self, prefix, ratio, width, tied=None):
        """`tied`: prefix of the attention whose wkv and kv_norm it copies; the gate is then nearly flat."""
        p, n = self.params, self.c["hidden_size"]
        rows = width * (2 if ratio == 4 else 1)
        gate, places = self.linear(rows, n, 0.5), self.random(ratio, rows)
        p[prefix + "wkv.weight"], p[prefix + "norm.weight"] = self.linear(rows, n), torch.ones(width)
        if tied:
            p[prefix + "wkv.weight"] = p[tied + "wkv.weight"].repeat(rows // width, 1)
            gate, places = gate.mean(0, keepdim=True) + 0.1 * gate, 0.1 * places
        p[prefix + "wgate.weight"], p[prefix + "ape"] = gate, places

    def attention(self, prefix, ratio):
        c, p = self.c, self.params
        n, heads, d, rank = c["hidden_size"], c["num_attention_heads"], c["head_dim"], c["q_lora_rank"]
        p[prefix + "attn_sink"] = torch.zeros(heads)
        p[prefix + "wq_a.weight"], p[prefix + "q_norm.weight"] = self.linear(rank, n), torch.ones(rank)
        p[prefix + "wq_b.weight"] = self.linear(heads * d, rank)
        p[prefix + "wkv.weight"], p[prefix + "kv_norm.weight"] = self.linear(d, n), torch.ones(d)
        groups, o_rank = c["o_groups"], c["o_lora_rank"]
        p[prefix + "wo_a.weight"] = self.linear(groups * o_rank, heads * d // groups)
        p[prefix + "wo_b.weight"] = self.linear(n, groups * o_rank, 0.5)
        if ratio:
            self.compressor(prefix + "compressor.", ratio, d, tied=prefix if ratio == 4 else None)
        if ratio == 4:
            index_heads, index_dim = c["index_n_heads"], c["index_head_dim"]
            p[prefix + "indexer.wq_b.weight"] = self.linear(index_heads * index_dim, rank)
            p[prefix + "indexer.weights_proj.weight"] = self.linear(index_heads, n, INDEX_WEIGHT_GAIN)
            self.compressor(prefix + "indexer.compressor.", 4, index_dim)

    def look_back(self, prefix, shared):
        """Layer 0's head h attends h + 1 tokens back: the fast rotary pairs of q and k are fed by the shared direction,
        those of q turned by that many places."""
        c, p = self.c, self.params
        heads, d, r, rank = c["num_attention_heads"], c["head_dim"], c["qk_rope_head_dim"], c["q_lora_rank"]
        direction = shared / shared.norm()
        frequency = 1.0 / c["rope_theta"] ** (torch.arange(0, 2 * FAST_PAIRS, 2) / r)
        wkv, wq_b = p[prefix + "wkv.weight"], p[prefix + "wq_b.weight"].view(heads, d, rank)
        p[prefix + "wq_a.weight"][0] = 3 * direction
        for i in range(FAST_PAIRS):
            wkv[d - r + 2 * i], wkv[d - r + 2 * i + 1] = 3 * direction, 0
            for h in range(heads):
                wq_b[h, d - r + 2 * i, 0] = 1.5 * math.cos((h + 1) * frequency[i])
                wq_b[h, d - r + 2 * i + 1, 0] = -1.5 * math.sin((h + 1) * frequency[i])

    def experts(self, prefix, hashed):
        c, p, n = self.c, self.params, self.c["hidden_size"]
        number, width, vocab = c["n_routed_experts"], c["moe_intermediate_size"], c["vocab_size"]
        p[prefix + "gate.weight"] = self.linear(number, n)
        if hashed:
            p[prefix + "gate.tid2eid"] = torch.stack([
                torch.randperm(number, generator=self.generator)[:c["num_experts_per_tok"]] for _ in range(vocab)])
        else:
            p[prefix + "gate.bias"] = torch.zeros(number)
        for matrix, rows, columns, gain in (("w1", width, n, 1.0), ("w3", width, n, 1.0), ("w2", n, width, 0.5)):
            p[f"{prefix}experts.{matrix}"] = self.linear(number * rows, columns, gain).view(number, rows, columns)
            p[f"{prefix}shared_experts.{matrix}.weight"] = self.linear(rows, columns, gain)

    def block(self, prefix, layer, ratio):
        n = self.c["hidden_size"]
        self.hyper_connection(prefix + "hc_attn", 2 * layer)
        self.hyper_connection(prefix + "hc_ffn", 2 * layer + 1)
        self.params[prefix + "attn_norm.weight"], self.params[prefix + "ffn_norm.weight"] = torch.ones(n), torch.ones(n)
        self.attention(prefix + "attn.", ratio)
        self.experts(prefix + "ffn.", hashed=layer < self.c["num_hash_layers"])


def initial_parameters(config, seed):
    """{name: tensor}, in the published names; the routed experts of a layer stacked as `ffn.experts.w1` [E, N, K]."""
    init, n, vocab = Init(config, seed), config["hidden_size"], config["vocab_size"]
    p = init.params
    shared = init.random(n, std=0.5)
    p["embed.weight"] = init.random(vocab, n, std=0.5) + shared
    p["head.weight"], p["norm.weight"] = init.random(vocab, n, std=0.02), torch.ones(n)
    init.hyper_connection("hc_head", 0, head=True)
    layers = config["num_hidden_layers"]
    for layer, ratio in enumerate(config["compress_ratios"]):
        prefix = f"layers.{layer}." if layer < layers else f"mtp.{layer - layers}."
        init.block(prefix, layer, ratio)
        if layer >= layers:
            p[prefix + "e_proj.weight"], p[prefix + "h_proj.weight"] = init.linear(n, n), init.linear(n, n)
            for name in ("enorm", "hnorm", "norm"):
                p[f"{prefix}{name}.weight"] = torch.ones(n)
            init.hyper_connection(prefix + "hc_head", 0, head=True)
    init.look_back("layers.0.attn.", shared)
    return p
