/* Loops that do one kind of work as fast as the processor can, to measure its peaks.

   Every function does `rounds` rounds; the work of one round is in peaks.py. Sums are named
   variables, written out by macros, so that they stay in registers at any optimization level. An
   empty asm statement hides from the compiler that operands are the same in every round.
   Each function names the instructions it needs: the file compiles for any x86-64. */

#include <immintrin.h>
#include <stddef.h>

#define SIX(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define TWELVE(DO) SIX(DO) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define HIDE(x) __asm__ volatile("" : "+v"(x))
#define HIDE_YMM(x) __asm__ volatile("" : "+x"(x))
#define SINK(i) __asm__ volatile("" ::"v"(s##i));
#define SINK_YMM(i) __asm__ volatile("" ::"x"(s##i));

/* Disagreeing bits: xor, vpopcntd, add of 16 words of 32 bits. */
#define ZERO_INTS(i) __m512i s##i = _mm512_setzero_si512();
#define COUNT(i) \
  HIDE(a);       \
  s##i = _mm512_add_epi32(s##i, _mm512_popcnt_epi32(_mm512_xor_si512(a, b)));

__attribute__((target("avx512f,avx512vpopcntdq"))) void binary_vpopcntdq(
    long rounds, const void *data, size_t bytes) {
  __m512i a = _mm512_set1_epi32(0x12345678), b = _mm512_set1_epi32(0x0f1e2d3c);
  TWELVE(ZERO_INTS)
  for (long round = 0; round < rounds; ++round) {
    TWELVE(COUNT)
  }
  TWELVE(SINK)
}

/* The same with AVX2: a table of nibbles' counts, and sums in bytes. */
#define ZERO_BYTES(i) __m256i s##i = _mm256_setzero_si256();
#define COUNT_BYTES(i)                                                              \
  {                                                                                 \
    HIDE_YMM(a);                                                                    \
    __m256i x = _mm256_xor_si256(a, b);                                             \
    __m256i low = _mm256_and_si256(x, nibble);                                      \
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);               \
    __m256i count = _mm256_add_epi8(_mm256_shuffle_epi8(table, low),                \
                                    _mm256_shuffle_epi8(table, high));              \
    s##i = _mm256_add_epi8(s##i, count);                                            \
  }

__attribute__((target("avx2"))) void binary_pshufb(long rounds, const void *data, size_t bytes) {
  __m256i a = _mm256_set1_epi32(0x12345678), b = _mm256_set1_epi32(0x0f1e2d3c);
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i table = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  SIX(ZERO_BYTES)
  for (long round = 0; round < rounds; ++round) {
    SIX(COUNT_BYTES)
  }
  SIX(SINK_YMM)
}

/* float32 multiply-add. */
#define ZERO_FLOATS(i) __m512 s##i = _mm512_setzero_ps();
#define MULTIPLY_ADD(i) \
  HIDE(a);              \
  s##i = _mm512_fmadd_ps(a, b, s##i);

__attribute__((target("avx512f"))) void fma_avx512(long rounds, const void *data, size_t bytes) {
  __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(0.5f);
  TWELVE(ZERO_FLOATS)
  for (long round = 0; round < rounds; ++round) {
    TWELVE(MULTIPLY_ADD)
  }
  TWELVE(SINK)
}

#define ZERO_YMM_FLOATS(i) __m256 s##i = _mm256_setzero_ps();
#define MULTIPLY_ADD_YMM(i) \
  HIDE_YMM(a);              \
  s##i = _mm256_fmadd_ps(a, b, s##i);

__attribute__((target("avx2,fma"))) void fma_avx2(long rounds, const void *data, size_t bytes) {
  __m256 a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(0.5f);
  TWELVE(ZERO_YMM_FLOATS)
  for (long round = 0; round < rounds; ++round) {
    TWELVE(MULTIPLY_ADD_YMM)
  }
  TWELVE(SINK_YMM)
}

/* int8: four products added to each int32 lane. */
#define DOT(i) \
  HIDE(a);     \
  s##i = _mm512_dpbusd_epi32(s##i, a, b);

__attribute__((target("avx512f,avx512vnni"))) void int8_vnni(
    long rounds, const void *data, size_t bytes) {
  __m512i a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x01010101);
  TWELVE(ZERO_INTS)
  for (long round = 0; round < rounds; ++round) {
    TWELVE(DOT)
  }
  TWELVE(SINK)
}

/* Loads of a whole buffer; `bytes` is a multiple of 512. */
#define LOAD_ZMM(i) __asm__ volatile("vmovdqa64 %0, %%zmm" #i ::"m"(line[64 * i]) : "xmm" #i);
#define LOAD_YMM(i) __asm__ volatile("vmovdqa %0, %%ymm" #i ::"m"(line[32 * i]) : "xmm" #i);
#define EIGHT(DO) SIX(DO) DO(6) DO(7)

__attribute__((target("avx512f"))) void load_avx512(long rounds, const void *data, size_t bytes) {
  for (long round = 0; round < rounds; ++round) {
    const char *end = (const char *)data + bytes;
    for (const char *line = data; line < end; line += 512) {
      EIGHT(LOAD_ZMM)
    }
  }
}

__attribute__((target("avx2"))) void load_avx2(long rounds, const void *data, size_t bytes) {
  for (long round = 0; round < rounds; ++round) {
    const char *end = (const char *)data + bytes;
    for (const char *line = data; line < end; line += 256) {
      EIGHT(LOAD_YMM)
    }
  }
}
