"""Number formats of the checkpoint: E4M3 tiles, E2M1 (FP4) blocks, power-of-two scales; and their fake quantisation.

Rounding follows the published program: the scale is the least power of two that brings the largest value into range.
"""
import torch
import torch.nn.functional as F

E4M3_MAX, E2M1_MAX, TILE, FP4_BLOCK = 448.0, 6.0, 128, 32
E2M1_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_MIDDLES = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
# A tie goes to the even code: the middles below the odd codes belong to the lower one, the others to the upper one.
_BOUNDS = torch.where(torch.arange(7) % 2 == 0, _MIDDLES, torch.nextafter(_MIDDLES, torch.zeros(7)))

_FP8_NAMES = ("attn.wq_a.", "attn.wq_b.", "attn.wkv.", "attn.wo_a.", "attn.wo_b.", "indexer.wq_b.", "shared_experts.",
              "e_proj.", "h_proj.")
_F32_NAMES = ("hc_", "attn_sink", ".ape", "gate.bias")


def storage(name):
    """How the published layout stores a tensor."""
    if ".experts." in name:
        return "fp4"
    if any(part in name for part in _FP8_NAMES):
        return "fp8"
    if any(part in name for part in _F32_NAMES):
        return "f32"
    return "i64" if "tid2eid" in name else "bf16"


def power_of_two_above(x):
    """2^ceil(log2 x), exactly: one more in the exponent when the mantissa is not zero."""
    bits = x.float().contiguous().view(torch.int32)
    return ((((bits >> 23) & 0xFF) + ((bits & 0x7FFFFF) != 0).int()) << 23).view(torch.float32)


def e2m1_code(x):
    return torch.bucketize(x.abs().contiguous(), _BOUNDS)


def to_e4m3(x):
    return x.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def quantise_e4m3(x, block):
    """Activations: one scale per `block` values of a row."""
    y = x.unflatten(-1, (-1, block))
    scale = power_of_two_above(y.abs().amax(-1, keepdim=True).clamp_min(1e-4) / E4M3_MAX)
    return (to_e4m3(y / scale).float() * scale).flatten(-2)


def e2m1_scale(x):
    """One scale per 32 values along the last dimension: [..., n / 32]."""
    largest = x.unflatten(-1, (-1, FP4_BLOCK)).abs().amax(-1)
    return power_of_two_above(largest.clamp_min(E2M1_MAX * 2.0**-126) / E2M1_MAX)


def quantise_e2m1(x):
    scale = e2m1_scale(x).unsqueeze(-1)
    y = (x.unflatten(-1, (-1, FP4_BLOCK)) / scale).clamp(-E2M1_MAX, E2M1_MAX)
    return (torch.sign(y) * E2M1_VALUES[e2m1_code(y)] * scale).flatten(-2)


def tile_scale(w):
    """Weights [N, K]: one scale per 128x128 tile."""
    rows, columns = w.shape
    padded = F.pad(w, (0, -columns % TILE, 0, -rows % TILE))
    tiles = padded.view(-(-rows // TILE), TILE, -(-columns // TILE), TILE)
    return power_of_two_above(tiles.abs().amax((1, 3)).clamp_min(1e-4) / E4M3_MAX)


def spread_tiles(scale, shape):
    return scale.repeat_interleave(TILE, 0)[:shape[0]].repeat_interleave(TILE, 1)[:, :shape[1]]


def quantise_tiles(w):
    scale = spread_tiles(tile_scale(w), w.shape)
    return to_e4m3(w / scale).float() * scale


def straight_through(x, rounded):
    """The rounded value, with the gradient of the unrounded one."""
    with torch.no_grad():
        difference = rounded(x.detach()) - x.detach()
    return x + difference


def as_stored(params):
    """The weights as a reader of the exported checkpoint will see them."""
    rounded = {"fp8": quantise_tiles, "fp4": quantise_e2m1, "bf16": lambda w: w.to(torch.bfloat16).float()}
    return {name: straight_through(w, rounded[storage(name)]) if storage(name) in rounded else w
            for name, w in params.items()}
