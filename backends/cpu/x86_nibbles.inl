// Part of kernels_*.cc for x86, for vec_index.inl: 16 bytes of two codes each, looked up in a table of 16.
static inline void vi_nibbles(uint8_t* even, uint8_t* odd, const uint8_t* table, const uint8_t* p) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
  const __m128i low = _mm_and_si128(bytes, mask), high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(even), _mm_shuffle_epi8(values, low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(odd), _mm_shuffle_epi8(values, high));
}
