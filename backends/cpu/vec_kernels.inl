// Every kernel of kernels.h once, over a vector type that the including file defines in an anonymous namespace:
//   V, kLanes, kRegisters (how many there are of V); v_zero v_set v_load v_store v_load_n v_store_n (n < kLanes,
//   zero-filled) v_load16 v_store16 (BF16, rounding), v_load_pairs v_store_pairs (2 * kLanes BF16 as even and odd elements), v_add v_sub v_mul v_div v_fma
//   v_max v_min v_abs v_or_sign(x, s) v_binade(x) (x >= 0 with its mantissa cleared), v_round16, v_rint,
//   v_exp2i (2^n of an integral n), v_sum v_maximum, v_swap<s> (lane i gets lane i ^ s), v_alternate<s> (+1 where
//   i & s is 0, else -1), VD (sums of kLanes in double) vd_zero vd_add_square vd_sum, v_fused (v_fma, the product never
//   rounded), v_e4m3 (kCodes vectors of codes, 1 / kE4M3Value of their values: see below), v_fp4 (16
//   bytes, 32 values, 1 / kFP4Value of theirs).
// Cheap conversions leave a power of two behind: an E4M3 code becomes value * 2^-120 by a shift alone. kXScale, a power
// of two that packed rows of quantised products carry, keeps a block's sum in the middle of FP32's range, and kUnit
// puts the rest right once per block. All of it is exact.
// The file is text for kernels_*.cc, not a header: everything in it is static to the one that includes it.

#include "backends/cpu/vec_math.inl"
#include "backends/cpu/vec_products.inl"
#include "backends/cpu/vec_rows.inl"
#include "backends/cpu/vec_attention.inl"

static Kernels vec_kernels(const char* isa) {
  Kernels t = {};
  t.isa = isa;
  t.x_bytes = 4;
  t.bf16_tiles = false;
  for (int& rows : t.max_direct) rows = 4;
  for (int& rows : t.few_rows) rows = 4;
  t.pack = pack_rows<false>;
  t.direct[kFormatE4M3] = direct<E4M3Rows>;
  t.direct[kFormatFP4] = direct<Fp4Rows>;
  t.direct[kFormatBF16] = direct<Bf16Rows>;
  t.direct[kFormatF32] = direct<F32Rows>;
  t.widen[kFormatE4M3] = widen_e4m3;
  t.widen[kFormatFP4] = widen_fp4;
  t.widen[kFormatBF16] = widen_bf16;
  t.widen[kFormatF32] = widen_f32;
  t.dot_bf16 = nullptr;
  t.dot_f32 = dot_f32;
  t.store_bf16 = store_bf16;
  t.sum_squares = sum_squares;
  t.scale_row = scale_row;
  t.hc_mix = hc_mix;
  t.hc_spread = hc_spread;
  t.add_rows = add_rows;
  t.rope = rope;
  t.hadamard = hadamard;
  t.quant_e2m1 = quant_e2m1;
  t.swiglu = swiglu;
  t.sum_bf16 = sum_bf16;
  t.widen_row = widen_row;
  t.key_tile = 32;
  t.unpack_keys = unpack_keys;
  t.unpack_queries = unpack_queries;
  t.unpack_index = unpack_index;
  t.scores = attend_scores;
  t.softmax_tile = softmax_tile;
  t.weigh = weigh<float>;
  t.index_scores = index_scores;
  t.pool = pool;
  return t;
}
