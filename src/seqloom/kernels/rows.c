/* Linear maps of a few rows, and stacks of recurrent layers: what making one element after another is made of.

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

enum kind { INT8, BFLOAT16, FLOAT32, COLUMNS };

/* A linear map: weight (outer,inner), int8 with a scale for each row of it and the sum of each row, the upper halves of
   float32 (bfloat16), with inner a multiple of 2 * LANES, or float32, row by row or column by column; bias (outer) or
   null. */
struct map {
    const void *weight;
    const float *scale;
    const int32_t *total;
    const float *bias;
    int64_t inner, outer, kind;
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

static float wide_dot(const float *x, const float *w, int64_t n) {
    floats sums[4] = {{0}, {0}, {0}, {0}}; /* each waits for itself alone */
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            floats a, b;
            memcpy(&a, x + i + j * LANES, sizeof a);
            memcpy(&b, w + i + j * LANES, sizeof b);
            sums[j] += a * b;
        }
    const floats p = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    float sum = 0;
    for (int j = 0; j < LANES; j++) sum += p[j];
    for (; i < n; i++) sum += x[i] * w[i];
    return sum;
}

static void float32_rows(const struct map *map, const float *x, int64_t rows, float *out) {
    const int64_t inner = map->inner, outer = map->outer;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t r = 0; r < rows; r++) {
            const float sum = wide_dot(x + r * inner, (const float *)map->weight + o * inner, inner);
            out[r * outer + o] = map->bias ? map->bias[o] + sum : sum;
        }
}

static void float32_columns(const struct map *map, const float *x, int64_t rows, float *restrict out) {
    const int64_t inner = map->inner, outer = map->outer;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < outer; o++) out[r * outer + o] = map->bias ? map->bias[o] : 0;
    int64_t i = 0;
    for (; i + 4 <= inner; i += 4)
        for (int64_t r = 0; r < rows; r++) {
            const float *restrict w = (const float *)map->weight + i * outer, *from = x + r * inner + i;
            const float a = from[0], b = from[1], c = from[2], d = from[3];
            float *restrict to = out + r * outer;
            for (int64_t o = 0; o < outer; o++)
                to[o] += (a * w[o] + b * w[outer + o]) + (c * w[2 * outer + o] + d * w[3 * outer + o]);
        }
    for (; i < inner; i++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t o = 0; o < outer; o++)
                out[r * outer + o] += x[r * inner + i] * ((const float *)map->weight)[i * outer + o];
}

/* x (rows,inner) and out (rows,outer) float32; room for rows * (inner + 1) float32 to work in. */
void map_rows(const struct map *map, const float *x, int64_t rows, void *room, float *out) {
    switch (map->kind) {
    case INT8: int8_rows(map, x, rows, room, out); break;
    case BFLOAT16: bfloat16_rows(map, x, rows, room, out); break;
    case FLOAT32: float32_rows(map, x, rows, out); break;
    default: float32_columns(map, x, rows, out);
    }
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

enum norm { NONE, LAYER, ROOT };

/* A norm over the features of each row: of layers, or of their root mean square, with a gain and (of LAYER) a shift. */
struct norm_of {
    const float *gain, *shift;
    int64_t norm;
    double least;
};

static void normed(const struct norm_of *of, const float *x, int64_t rows, int64_t width, float *out) {
    for (int64_t r = 0; r < rows; r++, x += width, out += width) {
        if (of->norm == NONE) {
            memcpy(out, x, width * sizeof *out);
            continue;
        }
        double mean = 0, square = 0;
        if (of->norm == LAYER) {
            for (int64_t i = 0; i < width; i++) mean += x[i];
            mean /= (double)width;
        }
        for (int64_t i = 0; i < width; i++) square += (x[i] - mean) * (x[i] - mean);
        const float scale = (float)(1.0 / sqrt(square / (double)width + of->least)), middle = (float)mean;
        for (int64_t i = 0; i < width; i++)
            out[i] = (x[i] - middle) * scale * of->gain[i] + (of->shift ? of->shift[i] : 0.0f);
    }
}

struct layer {
    const struct map *enter, *recur;
    struct norm_of norm;
};

/* LSTM layers between a table of symbols (int8 with a scale for each row, bfloat16 or float32, as `kind` says) and a
   head. The outputs of each layer are added to what enters it where it is `residual`. */
struct stack {
    const void *table;
    const float *scale;
    const struct layer *layers;
    const struct map *head;
    struct norm_of norm;
    int64_t kind, depth, width, residual;
    const float *gain; /* one number, or null */
};

static void looked_up(const struct stack *stack, int64_t symbol, float *out) {
    const int64_t width = stack->width, first = symbol * width;
    for (int64_t i = 0; i < width; i++) {
        if (stack->kind == INT8) {
            out[i] = (float)((const int8_t *)stack->table)[first + i] * stack->scale[symbol];
        } else if (stack->kind == BFLOAT16) {
            const uint32_t bits = (uint32_t)((const uint16_t *)stack->table)[first + i] << 16;
            memcpy(out + i, &bits, 4);
        } else {
            out[i] = ((const float *)stack->table)[first + i];
        }
    }
}

/* What is put out (rows,outputs) after symbols (rows) are read. The state of each layer (rows,2,width) goes on; room for
   rows * (14 * width + 1) float32. */
void stack_step(const struct stack *stack, const int64_t *symbols, int64_t rows, float *const *states, float *room,
                float *out) {
    const int64_t width = stack->width;
    float *h = room, *x = h + rows * width, *next = x + rows * width, *rest = next + rows * 2 * width;
    for (int64_t r = 0; r < rows; r++) looked_up(stack, symbols[r], h + r * width);
    for (int64_t l = 0; l < stack->depth; l++) {
        const struct layer *layer = stack->layers + l;
        normed(&layer->norm, h, rows, width, x);
        lstm_step(layer->enter, layer->recur, x, states[l], rows, rest, next);
        memcpy(states[l], next, rows * 2 * width * sizeof *next);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < width; i++) {
                const float made = next[2 * r * width + i];
                h[r * width + i] = stack->residual ? h[r * width + i] + made : made;
            }
    }
    normed(&stack->norm, h, rows, width, x);
    if (stack->gain)
        for (int64_t i = 0; i < rows * width; i++) x[i] *= *stack->gain;
    map_rows(stack->head, x, rows, rest, out);
}

/* The symbol at which the cumulative probability passes u, of logits that are overwritten. */
static int64_t picked(const float *logits, int64_t symbols, double u, double *total) {
    double most = logits[0];
    for (int64_t v = 1; v < symbols; v++) most = logits[v] > most ? logits[v] : most;
    double sum = 0;
    for (int64_t v = 0; v < symbols; v++) total[v] = sum += exp((double)logits[v] - most);
    const double edge = u * sum;
    int64_t low = 0, high = symbols - 1;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (total[middle] > edge)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Symbols (rows,most) drawn one after another, each after those before it, from `symbols` (rows) on, by one number each
   of u (rows,most); none of `never`. How many: fewer than `most` where every row has drawn `end` (-1: there is none),
   whose rows `ended` marks. The logits (rows,outputs) and total (outputs) are worked in. */
int64_t stack_draw(const struct stack *stack, int64_t *symbols, int64_t rows, float *const *states, float *room,
                   const double *u, int64_t most, const int64_t *never, int64_t nevers, int64_t end, uint8_t *ended,
                   float *logits, double *total, int64_t *drawn) {
    const int64_t outputs = stack->head->outer;
    for (int64_t step = 0; step < most; step++) {
        stack_step(stack, symbols, rows, states, room, logits);
        int over = end >= 0;
        for (int64_t r = 0; r < rows; r++) {
            float *own = logits + r * outputs;
            for (int64_t i = 0; i < nevers; i++) own[never[i]] = -INFINITY;
            const int64_t symbol = picked(own, outputs, u[r * most + step], total);
            drawn[r * most + step] = symbols[r] = symbol;
            ended[r] |= symbol == end;
            over &= ended[r];
        }
        if (over) return step + 1;
    }
    return most;
}
