// What the verbs have in common: reading and writing rows, sums, the weighted norm, rope, Hadamard, quantisation.
#pragma once

#include <cstdint>

#include "lib/backend/backend.h"

namespace dsv4::reference {

// --- sums
// The model defines its sums in FP32 and leaves their order open. A product of two floats is exact in double, and a
// double sum rounded once to FP32 is what every order of FP32 sums scatters around: the goldens were made that way
// ("sums exact beyond FP32"), and it makes a row's result independent of how a prompt was cut into steps. Norms stay in
// double until their one rounding: an FP32 product in between lands on a BF16 tie now and then, and one such flip ahead
// of an E4M3 quantisation moves a whole output row (seen in the draft head's h_proj: 3 flips, 0.3 % of its elements).
float dot(const float* a, const float* b, int64_t n);
double inverse_rms(const float* x, int64_t n, float eps);  // 1 / sqrt(mean(x²) + eps)

// --- rows
void read_row(float* out, const Mat& m, int64_t row);          // BF16 or F32, widened
void write_row(const Mat& m, int64_t row, const float* x);     // rounded if m is BF16
const float* weight_row(const Weight& w, int64_t row, float* scratch);  // any format, times its scales
float weight_at(const Weight& w, int64_t i);                   // element of a BF16 or F32 vector
void round_row(float* x, int64_t n);                           // -> BF16

// --- steps inside verbs; all in place
void weighted_norm(float* x, int64_t n, const Weight& weight, float eps);  // rms norm -> BF16
// Pairs (2i, 2i+1) of the last `dims` of a row of `width`, by the angles of cos and sin [dims / 2]; -> BF16.
void rotate(float* x, int64_t width, const float* cos, const float* sin, int64_t dims);
void rotate_back(float* x, int64_t width, const float* cos, const float* sin, int64_t dims);
void hadamard(float* x, int64_t n);  // Sylvester order, times n^-1/2 -> BF16; n a power of two
void quantise_e4m3(float* x, int64_t n, int64_t block);  // the last block may be shorter
void quantise_e2m1(float* x, int64_t n);

float sigmoid(float x);

// The k best of `score`, falling; equal scores by lower index. `order` holds n indices and is left with them in front.
void pick_best(int32_t* order, const float* score, int64_t n, int64_t k);

}  // namespace dsv4::reference
