/* Linear maps of a few rows, and stacks of layers: what making one element after another is made of.

   Rows are independent of each other and sums are taken in one order, so a row has the same bits alone and among
   others. Without -ffast-math: whole numbers are rounded as torch rounds them. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#define LANES 16
#else
#define LANES 8
#endif
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

static float greatest(const float *x, int64_t n) {
    int32_t most = 0; /* of numbers without their sign, the bits are in the order of the numbers */
    for (int64_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float top;
    memcpy(&top, &most, 4);
    return top;
}

typedef float somewhere __attribute__((vector_size(4 * LANES), aligned(2), may_alias));

static inline floats load(const void *from) { return (floats) * (const somewhere *)from; }

static inline floats fused(floats a, floats b, floats sum) {
#ifdef __AVX512F__
    return (floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#else
    return a * b + sum;
#endif
}

static inline float summed(floats all) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)all);
#else
    float part[LANES];
    memcpy(part, &all, sizeof part);
    for (int half = LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++) part[j] += part[j + half];
    return part[0];
#endif
}

/* A matrix comes from memory in the order in which it lies, and is asked for so many bytes before it is needed. */
#define AHEAD 4096
#define SOON(place) __builtin_prefetch((const char *)(place) + AHEAD)

static inline float dot(const float *x, const float *w, int64_t n) {
    floats sum = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        SOON(w + i);
        sum = fused(load(x + i), load(w + i), sum);
    }
    float all = summed(sum);
    for (; i < n; i++) all += x[i] * w[i];
    return all;
}

#define ROWS_AT_ONCE 4
#ifdef __AVX512F__
#define OUTPUTS_AT_ONCE 4
#define EACH_OUTPUT(DO) DO(0) DO(1) DO(2) DO(3)
#else
#define OUTPUTS_AT_ONCE 2
#define EACH_OUTPUT(DO) DO(0) DO(1)
#endif
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3)

/* The same of four rows with a few outputs: what is loaded is used several times. */
static inline void dots(const float *const *x, const float *const *w, int64_t n, float *out) {
    const float *next = w[0] + OUTPUTS_AT_ONCE * n;
#define DO(o) floats s##o##0 = {0}, s##o##1 = {0}, s##o##2 = {0}, s##o##3 = {0};
    EACH_OUTPUT(DO)
#undef DO
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#define DO(o)                                               \
    __builtin_prefetch(next + OUTPUTS_AT_ONCE * i + LANES * o); \
    const floats w##o = load(w[o] + i);
        EACH_OUTPUT(DO)
#undef DO
#if OUTPUTS_AT_ONCE == 4
#define MORE_OF(r) s2##r = fused(own, w2, s2##r), s3##r = fused(own, w3, s3##r);
#else
#define MORE_OF(r)
#endif
#define DO(r)                                                         \
    {                                                                 \
        const floats own = load(x[r] + i);                            \
        s0##r = fused(own, w0, s0##r), s1##r = fused(own, w1, s1##r); \
        MORE_OF(r)                                                    \
    }
        EACH_ROW(DO)
#undef DO
    }
#define DO(o)                                                           \
    out[4 * o] = summed(s##o##0), out[4 * o + 1] = summed(s##o##1);     \
    out[4 * o + 2] = summed(s##o##2), out[4 * o + 3] = summed(s##o##3);
    EACH_OUTPUT(DO)
#undef DO
    for (; i < n; i++)
        for (int o = 0; o < OUTPUTS_AT_ONCE; o++)
            for (int r = 0; r < ROWS_AT_ONCE; r++) out[4 * o + r] += x[r][i] * w[o][i];
}

/* Of 2 * LANES numbers each, the products are added to two sums: x has the even ones first, and then the odd ones. */
#define MORE(even, odd, a, b, w)                          \
    {                                                     \
        words both;                                       \
        memcpy(&both, w, sizeof both);                    \
        even = fused(a, (floats)(both << 16), even);      \
        odd = fused(b, (floats)(both & 0xffff0000u), odd); \
    }

/* `n` is a multiple of 2 * LANES. */
static inline float half_dot(const float *x, const uint16_t *w, int64_t n) {
    floats even = {0}, odd = {0};
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        SOON(w + i);
        MORE(even, odd, load(x + i), load(x + i + LANES), w + i)
    }
    return summed(even + odd);
}

/* The same of four rows with two outputs. */
static inline void half_dots(const float *const *x, const uint16_t *const *w, int64_t n, float *out) {
#define DO(r) floats even0##r = {0}, odd0##r = {0}, even1##r = {0}, odd1##r = {0};
    EACH_ROW(DO)
#undef DO
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        words both, other;
        memcpy(&both, w[0] + i, sizeof both);
        memcpy(&other, w[1] + i, sizeof other);
        SOON(w[0] + 2 * i), SOON(w[0] + 2 * i + 2 * LANES);
        const floats a = (floats)(both << 16), b = (floats)(both & 0xffff0000u);
        const floats c = (floats)(other << 16), d = (floats)(other & 0xffff0000u);
#define DO(r)                                                              \
    {                                                                      \
        const floats even = load(x[r] + i), odd = load(x[r] + i + LANES);  \
        even0##r = fused(even, a, even0##r), odd0##r = fused(odd, b, odd0##r); \
        even1##r = fused(even, c, even1##r), odd1##r = fused(odd, d, odd1##r); \
    }
        EACH_ROW(DO)
#undef DO
    }
#define DO(r) out[r] = summed(even0##r + odd0##r), out[4 + r] = summed(even1##r + odd1##r);
    EACH_ROW(DO)
#undef DO
}

enum kind { INT8, BFLOAT16, FLOAT32, PANELS, HALF_PANELS, INT8_PANELS };

/* A linear map: weight (outer,inner), int8 with a scale for each row of it and the sum of each row, the upper halves of
   float32 (bfloat16), with inner a multiple of 32, or float32; bias (outer) or null. PANELS are
   float32 for many rows: LANES outputs after one another, of which those of one inner feature stand side by side, with
   outer a multiple of LANES; of HALF_PANELS those of each two features, in bfloat16, to which rows are rounded too, for
   processors that have products of these; of INT8_PANELS those of each four features, for processors that have sums of
   four products of whole numbers, with weight, scale, total and bias filled up to a multiple of LANES. */
struct map {
    const void *weight;
    const float *scale;
    const int32_t *total;
    const float *bias;
    int64_t inner, outer, kind;
};

/* Rows as whole numbers: room has the step of each, and then these. */
static void rounded(const struct map *map, const float *x, int64_t rows, void *room) {
    const int64_t inner = map->inner;
    float *step = room;
    uint8_t *whole = (uint8_t *)(step + rows);
    for (int64_t r = 0; r < rows; r++) {
        const float *from = x + r * inner;
        uint8_t *to = whole + r * inner;
        const float top = greatest(from, inner);
        const float each = (top > 1e-30f ? top : 1e-30f) / 127.0f;
        step[r] = each;
        /* 128 more, for processors multiply numbers without a sign by those with one */
        for (int64_t i = 0; i < inner; i++) to[i] = (uint8_t)((int32_t)rintf(from[i] / each) + 128);
    }
}

/* Rows of which each 2 * LANES numbers have the even ones first, and then the odd ones. */
static void parted(const struct map *map, const float *x, int64_t rows, float *room) {
    for (int64_t i = 0; i < rows * map->inner; i += 2 * LANES)
        for (int j = 0; j < LANES; j++) {
            room[i + j] = x[i + 2 * j];
            room[i + LANES + j] = x[i + 2 * j + 1];
        }
}

/* Outputs begin..end-1, from rows as `rounded` left them. */
static void int8_outputs(const struct map *map, const void *room, int64_t rows, int64_t begin, int64_t end, float *out) {
    const int64_t inner = map->inner;
    const float *step = room;
    const uint8_t *whole = (const uint8_t *)(step + rows);
    for (int64_t o = begin; o < end; o++) {
        const int8_t *w = (const int8_t *)map->weight + o * inner;
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *a = whole + r * inner;
            int32_t sum = 0;
            for (int64_t i = 0; i < inner; i++) sum += (int32_t)a[i] * (int32_t)w[i];
            const float product = (float)(sum - 128 * map->total[o]) * step[r] * map->scale[o];
            out[r * map->outer + o] = map->bias ? map->bias[o] + product : product;
        }
    }
}

/* The rows from r on that are mapped at once: of the last ones some come more than once. */
static inline void at_once(const float *x, int64_t r, int64_t rows, int64_t inner, const float **own) {
    for (int k = 0; k < ROWS_AT_ONCE; k++) own[k] = x + (r + k < rows ? r + k : rows - 1) * inner;
}

static inline void put(const struct map *map, const float *sums, int64_t r, int64_t rows, int64_t o, float *out) {
    for (int k = 0; k < ROWS_AT_ONCE && r + k < rows; k++)
        out[(r + k) * map->outer + o] = map->bias ? map->bias[o] + sums[k] : sums[k];
}

/* The same from rows as `parted` left them. */
static void bfloat16_outputs(const struct map *map, const float *x, int64_t rows, int64_t begin, int64_t end,
                             float *out) {
    const int64_t inner = map->inner;
    const uint16_t *weight = map->weight, *w[2];
    const float *own[ROWS_AT_ONCE];
    float sums[2 * ROWS_AT_ONCE];
    if (rows == 1)
        for (int64_t o = begin; o < end; o++) {
            const float sum = half_dot(x, weight + o * inner, inner);
            out[o] = map->bias ? map->bias[o] + sum : sum;
        }
    else
        for (int64_t o = begin; o < end; o += 2) {
            for (int k = 0; k < 2; k++) w[k] = weight + (o + k < end ? o + k : o) * inner;
            for (int64_t r = 0; r < rows; r += ROWS_AT_ONCE) {
                at_once(x, r, rows, inner, own);
                half_dots(own, w, inner, sums);
                for (int k = 0; k < 2 && o + k < end; k++) put(map, sums + ROWS_AT_ONCE * k, r, rows, o + k, out);
            }
        }
}

static void float32_outputs(const struct map *map, const float *x, int64_t rows, int64_t begin, int64_t end,
                            float *out) {
    const int64_t inner = map->inner;
    const float *weight = map->weight, *own[ROWS_AT_ONCE], *w[OUTPUTS_AT_ONCE];
    float sums[OUTPUTS_AT_ONCE * ROWS_AT_ONCE];
    if (rows == 1)
        for (int64_t o = begin; o < end; o++) {
            const float sum = dot(x, weight + o * inner, inner);
            out[o] = map->bias ? map->bias[o] + sum : sum;
        }
    else
        for (int64_t o = begin; o < end; o += OUTPUTS_AT_ONCE) {
            for (int k = 0; k < OUTPUTS_AT_ONCE; k++) w[k] = weight + (o + k < end ? o + k : end - 1) * inner;
            for (int64_t r = 0; r < rows; r += ROWS_AT_ONCE) {
                at_once(x, r, rows, inner, own);
                dots(own, w, inner, sums);
                for (int k = 0; k < OUTPUTS_AT_ONCE && o + k < end; k++)
                    put(map, sums + ROWS_AT_ONCE * k, r, rows, o + k, out);
            }
        }
}

/* How many outputs make a panel, and whether panels in bfloat16 are known. */
int panel_lanes(void) { return LANES; }

int has_halves(void) {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

/* Sums of four rows by four panels begin, and are put out. */
#define BEGIN(r) floats s0##r = {0}, s1##r = {0}, s2##r = {0}, s3##r = {0};
#define PUT(r)                                                                                       \
    {                                                                                                \
        const int64_t to = (r0 + r < rows ? r0 + r : rows - 1) * map->outer;                         \
        put_panel(map, s0##r, o[0], out + to), put_panel(map, s1##r, o[1], out + to);                \
        put_panel(map, s2##r, o[2], out + to), put_panel(map, s3##r, o[3], out + to);                \
    }

static inline void put_panel(const struct map *map, floats sums, int64_t o, float *out) {
    if (map->bias) sums += load(map->bias + o);
    *(somewhere *)(out + o) = (somewhere)sums;
}

/* The outputs at which four panels begin, the last of them perhaps more than once. */
static inline void panels(int64_t begin, int64_t end, int64_t *o) {
    for (int k = 0; k < 4; k++) o[k] = begin + k * LANES < end ? begin + k * LANES : end - LANES;
}

static void panel_outputs(const struct map *map, const float *x, int64_t rows, int64_t begin, int64_t end,
                          float *out) {
    const int64_t inner = map->inner;
    const float *weight = map->weight, *own[ROWS_AT_ONCE];
    int64_t o[4];
    for (; begin < end; begin += 4 * LANES) {
        panels(begin, end, o);
        const float *p0 = weight + o[0] * inner, *p1 = weight + o[1] * inner;
        const float *p2 = weight + o[2] * inner, *p3 = weight + o[3] * inner;
        for (int64_t r0 = 0; r0 < rows; r0 += ROWS_AT_ONCE) {
            at_once(x, r0, rows, inner, own);
            const float *x0 = own[0], *x1 = own[1], *x2 = own[2], *x3 = own[3];
            EACH_ROW(BEGIN)
            for (int64_t i = 0; i < inner; i++) {
                const floats w0 = load(p0 + i * LANES), w1 = load(p1 + i * LANES);
                const floats w2 = load(p2 + i * LANES), w3 = load(p3 + i * LANES);
#define DO(r)                                                                      \
    {                                                                              \
        const floats all = x##r[i] - (floats){0};                                  \
        s0##r = fused(all, w0, s0##r), s1##r = fused(all, w1, s1##r);              \
        s2##r = fused(all, w2, s2##r), s3##r = fused(all, w3, s3##r);              \
    }
                EACH_ROW(DO)
#undef DO
            }
            EACH_ROW(PUT)
        }
    }
}

int has_whole_panels(void) {
#ifdef __AVX512VNNI__
    return 1;
#else
    return 0;
#endif
}

#ifdef __AVX512VNNI__
static inline __m512i four_products(const uint8_t *four, __m512i weights, __m512i sum) {
    int32_t all;
    memcpy(&all, four, sizeof all);
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(all), weights);
}

static inline void put_whole(const struct map *map, __m512i sums, float step, int64_t o, float *out) {
    const __m512i total = _mm512_loadu_si512(map->total + o);
    const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, _mm512_slli_epi32(total, 7)));
    __m512 sum = _mm512_mul_ps(_mm512_mul_ps(whole, _mm512_set1_ps(step)), _mm512_loadu_ps(map->scale + o));
    if (map->bias) sum = _mm512_add_ps(_mm512_loadu_ps(map->bias + o), sum);
    const int64_t left = map->outer - o;
    _mm512_mask_storeu_ps(out + o, left < LANES ? (__mmask16)((1 << left) - 1) : (__mmask16)0xffff, sum);
}

/* As int8_outputs, to the bit: of one row with one panel after another, as these lie in memory; */
static void whole_panel_of_one(const struct map *map, float step, const uint8_t *x, int64_t o, float *out) {
    const int64_t inner = map->inner;
    const int8_t *panel = (const int8_t *)map->weight + o * inner;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 16 <= inner; i += 16) {
        const int8_t *w = panel + i * LANES;
        SOON(w), SOON(w + 64), SOON(w + 128), SOON(w + 192);
        a = four_products(x + i, _mm512_loadu_si512(w), a);
        b = four_products(x + i + 4, _mm512_loadu_si512(w + 64), b);
        c = four_products(x + i + 8, _mm512_loadu_si512(w + 128), c);
        d = four_products(x + i + 12, _mm512_loadu_si512(w + 192), d);
    }
    for (; i < inner; i += 4) a = four_products(x + i, _mm512_loadu_si512(panel + i * LANES), a);
    put_whole(map, _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d)), step, o, out);
}

/* and of four rows with four panels at once. */
static void whole_panels_of_four(const struct map *map, const float *step, const uint8_t *x, int64_t r0, int64_t rows,
                                 const int64_t *o, float *out) {
    const int64_t inner = map->inner;
    const int8_t *weight = map->weight;
    const int8_t *p0 = weight + o[0] * inner, *p1 = weight + o[1] * inner;
    const int8_t *p2 = weight + o[2] * inner, *p3 = weight + o[3] * inner;
#define DO(r)                                                \
    const int64_t at##r = r0 + r < rows ? r0 + r : rows - 1; \
    const uint8_t *x##r = x + at##r * inner;                 \
    __m512i s0##r = _mm512_setzero_si512(), s1##r = s0##r, s2##r = s0##r, s3##r = s0##r;
    EACH_ROW(DO)
#undef DO
    for (int64_t i = 0; i < inner; i += 4) {
        const __m512i w0 = _mm512_loadu_si512(p0 + i * LANES), w1 = _mm512_loadu_si512(p1 + i * LANES);
        const __m512i w2 = _mm512_loadu_si512(p2 + i * LANES), w3 = _mm512_loadu_si512(p3 + i * LANES);
#define DO(r)                                                                                  \
    s0##r = four_products(x##r + i, w0, s0##r), s1##r = four_products(x##r + i, w1, s1##r);    \
    s2##r = four_products(x##r + i, w2, s2##r), s3##r = four_products(x##r + i, w3, s3##r);
        EACH_ROW(DO)
#undef DO
    }
#define DO(r)                                                                                          \
    {                                                                                                  \
        float *to = out + at##r * map->outer;                                                          \
        put_whole(map, s0##r, step[at##r], o[0], to), put_whole(map, s1##r, step[at##r], o[1], to);    \
        put_whole(map, s2##r, step[at##r], o[2], to), put_whole(map, s3##r, step[at##r], o[3], to);    \
    }
    EACH_ROW(DO)
#undef DO
}

static void whole_panel_outputs(const struct map *map, const void *room, int64_t rows, int64_t begin, int64_t end,
                                float *out) {
    const float *step = room;
    const uint8_t *whole = (const uint8_t *)(step + rows);
    int64_t o[4];
    if (rows == 1)
        for (; begin < end; begin += LANES) whole_panel_of_one(map, *step, whole, begin, out);
    for (; begin < end; begin += 4 * LANES) {
        for (int k = 0; k < 4; k++) o[k] = begin + k * LANES < end ? begin + k * LANES : (end - 1) / LANES * LANES;
        for (int64_t r = 0; r < rows; r += ROWS_AT_ONCE) whole_panels_of_four(map, step, whole, r, rows, o, out);
    }
}
#endif

#ifdef __AVX512BF16__
static void halved(const struct map *map, const float *x, int64_t rows, uint16_t *room) {
    for (int64_t i = 0; i < rows * map->inner; i += 16) {
        const __m256bh half = _mm512_cvtneps_pbh(_mm512_loadu_ps(x + i));
        memcpy(room + i, &half, sizeof half);
    }
}

static inline floats paired(const uint16_t *pair, floats weights, floats sum) {
    int32_t both;
    memcpy(&both, pair, sizeof both);
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(both), (__m512bh)weights);
}

static void half_panel_outputs(const struct map *map, const uint16_t *x, int64_t rows, int64_t begin, int64_t end,
                               float *out) {
    const int64_t inner = map->inner;
    const uint16_t *weight = map->weight;
    int64_t o[4];
    for (; begin < end; begin += 4 * LANES) {
        panels(begin, end, o);
        const uint16_t *p0 = weight + o[0] * inner, *p1 = weight + o[1] * inner;
        const uint16_t *p2 = weight + o[2] * inner, *p3 = weight + o[3] * inner;
        for (int64_t r0 = 0; r0 < rows; r0 += ROWS_AT_ONCE) {
#define DO(r) const uint16_t *x##r = x + (r0 + r < rows ? r0 + r : rows - 1) * inner;
            EACH_ROW(DO)
#undef DO
            EACH_ROW(BEGIN)
            for (int64_t i = 0; i < inner; i += 2) {
                const floats w0 = load(p0 + i * LANES), w1 = load(p1 + i * LANES);
                const floats w2 = load(p2 + i * LANES), w3 = load(p3 + i * LANES);
#define DO(r)                                                                              \
    {                                                                                      \
        s0##r = paired(x##r + i, w0, s0##r), s1##r = paired(x##r + i, w1, s1##r);          \
        s2##r = paired(x##r + i, w2, s2##r), s3##r = paired(x##r + i, w3, s3##r);          \
    }
                EACH_ROW(DO)
#undef DO
            }
            EACH_ROW(PUT)
        }
    }
}
#endif

static void outputs(const struct map *map, const float *x, const void *room, int64_t rows, int64_t begin, int64_t end,
                    float *out) {
    switch (map->kind) {
    case INT8: int8_outputs(map, room, rows, begin, end, out); break;
    case BFLOAT16: bfloat16_outputs(map, room, rows, begin, end, out); break;
#ifdef __AVX512BF16__
    case HALF_PANELS: half_panel_outputs(map, room, rows, begin, end, out); break;
#endif
#ifdef __AVX512VNNI__
    case INT8_PANELS: whole_panel_outputs(map, room, rows, begin, end, out); break;
#endif
    case PANELS: panel_outputs(map, x, rows, begin, end, out); break;
    default: float32_outputs(map, x, rows, begin, end, out);
    }
}

/* Outputs that a thread takes at once, and what is too little work for more than one. */
#define TOGETHER 64
#define LITTLE (1 << 20)

/* x (rows,inner) and out (rows,outer) float32; room for rows * (inner + 1) float32 to work in. By as many threads as
   torch has, where the program was compiled with them: what each makes does not depend on how many there are. */
void map_rows(const struct map *map, const float *x, int64_t rows, void *room, float *out) {
    const int64_t outer = map->outer;
    if (map->kind == INT8 || map->kind == INT8_PANELS) rounded(map, x, rows, room);
    if (map->kind == BFLOAT16) parted(map, x, rows, room);
#ifdef __AVX512BF16__
    if (map->kind == HALF_PANELS) halved(map, x, rows, room);
#endif
    if (outer * map->inner * (rows + 3) <= LITTLE) {
        outputs(map, x, room, rows, 0, outer, out);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < outer; begin += TOGETHER)
        outputs(map, x, room, rows, begin, begin + TOGETHER < outer ? begin + TOGETHER : outer, out);
}

/* A polynomial that is e^x to 1e-7 of itself, after powers of two are taken out; a loop around it is vectorised. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const float whole = rintf(x * 1.44269504f);
    const float rest = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return sum * power;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

static inline float hyperbolic(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

/* The gates of an LSTM are entering + before (rows,4*width): input, forget, candidate, output. past and next, which lie
   apart, are (rows,2,width): what comes out, and what is remembered. */
void lstm_after(const float *restrict entering, const float *restrict before, const float *restrict past, int64_t rows,
                int64_t width, float *restrict next) {
    for (int64_t r = 0; r < rows; r++) {
        const float *a = entering + r * 4 * width, *b = before + r * 4 * width, *memory = past + (2 * r + 1) * width;
        float *out = next + 2 * r * width, *kept = out + width;
        for (int64_t i = 0; i < width; i++) {
            const float candidate = hyperbolic(a[2 * width + i] + b[2 * width + i]);
            const float now = sigmoid(a[width + i] + b[width + i]) * memory[i] + sigmoid(a[i] + b[i]) * candidate;
            kept[i] = now;
            out[i] = sigmoid(a[3 * width + i] + b[3 * width + i]) * hyperbolic(now);
        }
    }
}

/* One step of it: what enters, and what came out before, are mapped. x (rows,inner); room for
   rows * (9 * width + max(inner, width) + 1) float32. */
void lstm_step(const struct map *enter, const struct map *recur, const float *x, const float *past, int64_t rows,
               float *room, float *next) {
    const int64_t width = recur->inner;
    float *a = room, *b = a + rows * 4 * width, *hidden = b + rows * 4 * width, *rest = hidden + rows * width;
    for (int64_t r = 0; r < rows; r++) memcpy(hidden + r * width, past + 2 * r * width, width * sizeof *hidden);
    map_rows(enter, x, rows, rest, a);
    map_rows(recur, hidden, rows, rest, b);
    lstm_after(a, b, past, rows, width, next);
}
