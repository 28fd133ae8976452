/* Linear maps of a few rows by a matrix in fewer bytes than float32: what making one element after another is made of.

   Rows are independent of each other and sums are taken in one order, so a row has the same bits alone and among
   others. Without -ffast-math: whole numbers are rounded as torch rounds them. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
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

/* Of 2 * LANES numbers each, the products are added to two sums: x has the even ones first, and then the odd ones. */
static inline void more(floats *even, floats *odd, const float *x, const uint16_t *w) {
    floats a, b;
    words both;
    memcpy(&a, x, sizeof a);
    memcpy(&b, x + LANES, sizeof b);
    memcpy(&both, w, sizeof both);
    *even += a * (floats)(both << 16);
    *odd += b * (floats)(both & 0xffff0000u);
}

/* `n` is a multiple of 2 * LANES. */
static float dot(const float *x, const uint16_t *w, int64_t n) {
    floats p = {0}, q = {0}, r = {0}, s = {0}; /* each waits for itself alone */
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        more(&p, &q, x + i, w + i);
        more(&r, &s, x + i + 2 * LANES, w + i + 2 * LANES);
    }
    if (i < n) more(&p, &q, x + i, w + i);
    p = (p + q) + (r + s);
    float sum = 0;
    for (int j = 0; j < LANES; j++) sum += p[j];
    return sum;
}

/* A linear map: weight (outer,inner), int8 with a scale for each row of it and the sum of each row, or (where scale is
   null) the upper halves of float32, with inner a multiple of 2 * LANES; bias (outer) or null. */
struct map {
    const void *weight;
    const float *scale;
    const int32_t *total;
    const float *bias;
    int64_t inner, outer;
};

static void int8_rows(const struct map *map, const float *x, int64_t rows, void *room, float *out) {
    const int64_t inner = map->inner, outer = map->outer;
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
    for (int64_t o = 0; o < outer; o++) {
        const int8_t *w = (const int8_t *)map->weight + o * inner;
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *a = whole + r * inner;
            int32_t sum = 0;
            for (int64_t i = 0; i < inner; i++) sum += (int32_t)a[i] * (int32_t)w[i];
            const float product = (float)(sum - 128 * map->total[o]) * step[r] * map->scale[o];
            out[r * outer + o] = map->bias ? map->bias[o] + product : product;
        }
    }
}

static void bfloat16_rows(const struct map *map, const float *x, int64_t rows, float *room, float *out) {
    const int64_t inner = map->inner, outer = map->outer;
    for (int64_t i = 0; i < rows * inner; i += 2 * LANES)
        for (int j = 0; j < LANES; j++) {
            room[i + j] = x[i + 2 * j];
            room[i + LANES + j] = x[i + 2 * j + 1];
        }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t r = 0; r < rows; r++) {
            const float sum = dot(room + r * inner, (const uint16_t *)map->weight + o * inner, inner);
            out[r * outer + o] = map->bias ? map->bias[o] + sum : sum;
        }
}

/* x (rows,inner) and out (rows,outer) float32; room for rows * (inner + 1) float32 to work in. */
void map_rows(const struct map *map, const float *x, int64_t rows, void *room, float *out) {
    if (map->scale)
        int8_rows(map, x, rows, room, out);
    else
        bfloat16_rows(map, x, rows, room, out);
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

/* The gates of an LSTM are entering + before (rows,4*width): input, forget, candidate, output. past and next are
   (rows,2,width): what comes out, and what is remembered. */
void lstm_after(const float *entering, const float *before, const float *past, int64_t rows, int64_t width,
                float *next) {
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
