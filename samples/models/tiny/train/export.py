"""Writes and reads the published layout: FP4 experts, FP8 attention with power-of-two scales, BF16 rest."""
import json
import os

import torch
from safetensors.torch import load_file, save_file

import data
from formats import E2M1_MAX, E2M1_VALUES, FP4_BLOCK, e2m1_code, e2m1_scale, spread_tiles, storage, tile_scale, to_e4m3

PLAIN = {"bf16": torch.bfloat16, "f32": torch.float32, "i64": torch.int64}


def packed_fp4(w):
    """Two codes a byte, the even element in the low nibble; and the scales."""
    scale = e2m1_scale(w)
    y = (w / scale.repeat_interleave(FP4_BLOCK, -1)).clamp(-E2M1_MAX, E2M1_MAX)
    code = (e2m1_code(y) + 8 * (y < 0)).to(torch.uint8).view(w.shape[0], -1, 2)
    return (code[..., 0] | (code[..., 1] << 4)).view(torch.int8), scale


def published_tensors(params):
    tensors = {}
    for name, w in params.items():
        w, kind = w.detach(), storage(name)
        if kind == "fp4":
            prefix, matrix = name.rsplit(".", 1)
            for expert in range(w.shape[0]):
                codes, scale = packed_fp4(w[expert])
                tensors[f"{prefix}.{expert}.{matrix}.weight"] = codes
                tensors[f"{prefix}.{expert}.{matrix}.scale"] = scale.to(torch.float8_e8m0fnu)
        elif kind == "fp8":
            scale = tile_scale(w)
            tensors[name] = to_e4m3(w / spread_tiles(scale, w.shape))
            tensors[name[:-len("weight")] + "scale"] = scale.to(torch.float8_e8m0fnu)
        else:
            tensors[name] = w.to(PLAIN[kind])
    return {name: tensors[name].contiguous() for name in sorted(tensors)}


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def export(params, config, folder):
    save_file(published_tensors(params), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    write_json(folder, "config.json", config)
    write_json(folder, "generation_config.json", {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1,
                                                  "do_sample": True, "temperature": 1.0, "top_p": 1.0})

    def token(text):
        return {"__type": "AddedToken", "content": text, "lstrip": False, "normalized": True, "rstrip": False,
                "single_word": False}

    write_json(folder, "tokenizer_config.json", {
        "add_bos_token": False, "add_eos_token": False, "bos_token": token(data.BOS),
        "clean_up_tokenization_spaces": False, "eos_token": token(data.EOS), "legacy": True,
        "model_max_length": config["max_position_embeddings"], "pad_token": token(data.EOS), "sp_model_kwargs": {},
        "unk_token": None, "tokenizer_class": "PreTrainedTokenizerFast"})


def load(folder):
    """What export wrote: the parameters as FP32, experts stacked; and the config."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    values, params, experts = torch.cat([E2M1_VALUES, -E2M1_VALUES]), {}, {}
    for name, w in tensors.items():
        kind = storage(name)
        if name.endswith(".scale"):
            continue
        scale = tensors[name[:-len("weight")] + "scale"].float() if kind in ("fp4", "fp8") else None
        if kind == "fp4":
            codes = w.view(torch.uint8).long()
            w = values[torch.stack([codes & 15, codes >> 4], -1).flatten(-2)] * scale.repeat_interleave(FP4_BLOCK, -1)
            prefix, expert, matrix, _ = name.rsplit(".", 3)
            experts.setdefault(f"{prefix}.{matrix}", {})[int(expert)] = w
        elif kind == "fp8":
            params[name] = w.float() * spread_tiles(scale, w.shape)
        else:
            params[name] = w if kind == "i64" else w.float()
    for name, matrices in experts.items():
        params[name] = torch.stack([matrices[e] for e in range(len(matrices))])
    return params, config
