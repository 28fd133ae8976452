/* Parts of attention networks over whole sequences, and back; behind scans.c, in one program.

   Positions are independent of each other, so a position has the same bits alone and among others. What lies in
   bfloat16 is half; all else is in float32. Slopes of weights are summed over stretches of positions, into a row of
   their own for each, so that they do not depend on the number of threads. */

#define STRETCH 2048

/* max(x, 0)^2 of count numbers. */
void squared_forward(int64_t half, const void *x, int64_t count, void *y) {
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < count; first += STRETCH) {
        float room[STRETCH], made[STRETCH];
        const int64_t n = count - first < STRETCH ? count - first : STRETCH;
        const float *own = widened((int)half, x, first, n, room);
        float *to = half ? made : (float *)y + first;
        for (int64_t i = 0; i < n; i++) {
            const float positive = own[i] > 0 ? own[i] : 0;
            to[i] = positive * positive;
        }
        if (half) narrowed(1, made, n, y, first);
    }
}

/* From the slopes by, in what x lies in, those of x. */
void squared_back(int64_t half, const void *x, const void *by, int64_t count, void *of_x) {
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < count; first += STRETCH) {
        float room[STRETCH], given[STRETCH], made[STRETCH];
        const int64_t n = count - first < STRETCH ? count - first : STRETCH;
        const float *own = widened((int)half, x, first, n, room), *now = widened((int)half, by, first, n, given);
        float *to = half ? made : (float *)of_x + first;
        for (int64_t i = 0; i < n; i++) to[i] = 2 * (own[i] > 0 ? own[i] : 0) * now[i];
        if (half) narrowed(1, made, n, of_x, first);
    }
}

/* Rows of width in units of their root mean square, times weight; scale (rows) is one over that root. */
void normed_forward(const float *x, const float *weight, float least, int64_t rows, int64_t width, float *y,
                    float *scale) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *own = x + r * width;
        const float by = 1.0f / sqrtf(dot(own, own, width) / (float)width + least);
        float *to = y + r * width;
        for (int64_t i = 0; i < width; i++) to[i] = own[i] * by * weight[i];
        scale[r] = by;
    }
}

/* From the slopes by (rows,width) those of x; of weight for each of so many stretches (stretches,width). */
void normed_back(const float *x, const float *weight, const float *scale, const float *by, int64_t rows, int64_t width,
                 int64_t stretches, float *of_x, float *of_weight) {
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < stretches; s++) {
        float *sum = of_weight + s * width, room[width];
        for (int64_t i = 0; i < width; i++) sum[i] = 0;
        for (int64_t r = s * rows / stretches; r < (s + 1) * rows / stretches; r++) {
            const float *own = x + r * width, *now = by + r * width, unit = scale[r];
            float *to = of_x + r * width;
            for (int64_t i = 0; i < width; i++) {
                sum[i] += now[i] * (own[i] * unit);
                room[i] = now[i] * weight[i];
            }
            const float mean = dot(room, own, width) * unit * unit / (float)width;
            for (int64_t i = 0; i < width; i++) to[i] = unit * (room[i] - own[i] * mean);
        }
    }
}

/* One head (each) in units of its root mean square, times gain, its neighbouring features turned as one complex number
   by turn (each/2 pairs), or not at all where turn is null. Returns one over the root. */
static float turned_head(const float *restrict x, const float *restrict gain, const float *restrict turn, float least,
                         int64_t each, float *restrict to) {
    const float unit = 1.0f / sqrtf(dot(x, x, each) / (float)each + least);
    if (!turn) {
        for (int64_t i = 0; i < each; i++) to[i] = x[i] * unit * gain[i];
        return unit;
    }
    for (int64_t i = 0; i < each; i += 2) {
        const float a = x[i] * unit * gain[i], b = x[i + 1] * unit * gain[i + 1];
        to[i] = a * turn[i] - b * turn[i + 1];
        to[i + 1] = a * turn[i + 1] + b * turn[i];
    }
    return unit;
}

/* From the slopes by of what was turned those of x; of gain they are added to sum. room for each. */
static void turned_head_back(const float *restrict x, const float *restrict gain, const float *restrict turn,
                             float unit, const float *restrict by, int64_t each, float *restrict room,
                             float *restrict sum, float *restrict of_x) {
    if (turn)
        for (int64_t i = 0; i < each; i += 2) {
            room[i] = by[i] * turn[i] + by[i + 1] * turn[i + 1];
            room[i + 1] = by[i + 1] * turn[i] - by[i] * turn[i + 1];
        }
    else
        memcpy(room, by, each * sizeof *room);
    for (int64_t i = 0; i < each; i++) {
        sum[i] += room[i] * (x[i] * unit);
        room[i] *= gain[i];
    }
    const float mean = dot(room, x, each) * unit * unit / (float)each;
    for (int64_t i = 0; i < each; i++) of_x[i] = unit * (room[i] - x[i] * mean);
}

/* Queries, keys and values p (rows,steps,(heads+2*kv)*each) as attention reads them: q (rows,heads,steps,each), k and v
   (rows,kv,steps,each), of which q and k are turned, by turns (turned,steps,each), turned being 1 or rows. units
   (rows,steps,heads+kv) are for the way back. */
void turned_forward(int64_t half, const void *p, const float *query_gain, const float *key_gain, const float *turns,
                    int64_t turned, float least, int64_t rows, int64_t steps, int64_t heads, int64_t kv, int64_t each,
                    float *q, float *k, float *v, float *units) {
    const int64_t wide = (heads + 2 * kv) * each;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < rows * steps; at++) {
        const int64_t r = at / steps, t = at % steps;
        float room[wide];
        const float *own = widened((int)half, p, at * wide, wide, room);
        const float *turn = turns ? turns + ((turned > 1 ? r * steps : 0) + t) * each : turns;
        for (int64_t h = 0; h < heads + kv; h++, own += each) {
            float *to = h < heads ? q + ((r * heads + h) * steps + t) * each
                                  : k + ((r * kv + h - heads) * steps + t) * each;
            units[at * (heads + kv) + h] = turned_head(own, h < heads ? query_gain : key_gain, turn, least, each, to);
        }
        for (int64_t h = 0; h < kv; h++, own += each)
            memcpy(v + ((r * kv + h) * steps + t) * each, own, each * sizeof *own);
    }
}

/* From the slopes of q, k and v, laid out as they are but for strides (3,3) of a row, a head and a step, those of p; of
   the two gains for each of so many stretches (stretches,2,each). */
void turned_back(int64_t half, const void *p, const float *query_gain, const float *key_gain, const float *turns,
                 int64_t turned, const float *units, int64_t rows, int64_t steps, int64_t heads, int64_t kv,
                 int64_t each, const float *of_q, const float *of_k, const float *of_v, const int64_t *strides,
                 int64_t stretches, void *of_p, float *of_gains) {
    const int64_t wide = (heads + 2 * kv) * each, all = rows * steps;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < stretches; s++) {
        float *sum = of_gains + s * 2 * each, given[wide], made[wide], room[each];
        for (int64_t i = 0; i < 2 * each; i++) sum[i] = 0;
        for (int64_t at = s * all / stretches; at < (s + 1) * all / stretches; at++) {
            const int64_t r = at / steps, t = at % steps;
            const float *own = widened((int)half, p, at * wide, wide, given);
            const float *turn = turns ? turns + ((turned > 1 ? r * steps : 0) + t) * each : turns;
            float *to = half ? made : (float *)of_p + at * wide;
            for (int64_t h = 0; h < heads + kv; h++, own += each, to += each) {
                const int64_t *stride = strides + (h < heads ? 0 : 3), head = h < heads ? h : h - heads;
                const float *by = (h < heads ? of_q : of_k) + r * stride[0] + head * stride[1] + t * stride[2];
                turned_head_back(own, h < heads ? query_gain : key_gain, turn, units[at * (heads + kv) + h], by, each,
                                 room, sum + (h < heads ? 0 : each), to);
            }
            for (int64_t h = 0; h < kv; h++, to += each)
                memcpy(to, of_v + r * strides[6] + h * strides[7] + t * strides[8], each * sizeof *to);
            if (half) narrowed(1, made, wide, of_p, at * wide);
        }
    }
}
