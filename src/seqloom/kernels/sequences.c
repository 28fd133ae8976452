/* Whole sequences through a recurrence, and back; behind rows.c and stack.c, in one program.

   All is laid out step by step: (steps,rows,...). What is linear in all steps at once is left to others. */

static void gru_after(const float *restrict enter, const float *restrict before, const float *restrict past,
                      int64_t width, float *restrict next, float *restrict kept) {
    for (int64_t i = 0; i < width; i++) {
        const float reset = sigmoid(enter[i] + before[i]), update = sigmoid(enter[width + i] + before[width + i]);
        const float inner = before[2 * width + i], candidate = hyperbolic(enter[2 * width + i] + reset * inner);
        next[i] = candidate + update * (past[i] - candidate);
        kept[i] = reset, kept[width + i] = update, kept[2 * width + i] = candidate, kept[3 * width + i] = inner;
    }
}

/* From the slope `by` of what came out (width): those of what enters and of what came before it, and of the past but
   for the map. */
static void gru_back(const float *restrict by, const float *restrict kept, const float *restrict past, int64_t width,
                     float *restrict enter, float *restrict before, float *restrict straight) {
    for (int64_t i = 0; i < width; i++) {
        const float reset = kept[i], update = kept[width + i], candidate = kept[2 * width + i];
        const float of_candidate = by[i] * (1 - update) * (1 - candidate * candidate);
        const float of_update = by[i] * (past[i] - candidate) * update * (1 - update);
        const float of_reset = of_candidate * kept[3 * width + i] * reset * (1 - reset);
        enter[i] = before[i] = of_reset;
        enter[width + i] = before[width + i] = of_update;
        enter[2 * width + i] = of_candidate, before[2 * width + i] = of_candidate * reset;
        straight[i] = by[i] * update;
    }
}

static void plain_after(int64_t part, const float *restrict enter, const float *restrict before, int64_t width,
                        float *restrict next) {
    if (part == TANH)
        for (int64_t i = 0; i < width; i++) next[i] = hyperbolic(enter[i] + before[i]);
    else
        for (int64_t i = 0; i < width; i++) next[i] = enter[i] + before[i] > 0 ? enter[i] + before[i] : 0;
}

static void plain_back(int64_t part, const float *restrict by, const float *restrict out, int64_t width,
                       float *restrict enter, float *restrict straight) {
    for (int64_t i = 0; i < width; i++) {
        enter[i] = by[i] * (part == TANH ? 1 - out[i] * out[i] : out[i] > 0 ? 1.0f : 0.0f);
        straight[i] = 0;
    }
}

/* States (steps+1,rows,width), of which the first is there, of what enters (steps,rows,gates*width); recur maps what
   came out before. Of a GRU kept (steps,rows,4*width) is what the way back needs. room for
   rows * (2 * gates * width + 1) float32. */
void sequence_forward(int64_t part, const struct map *recur, const float *enter, int64_t steps, int64_t rows,
                      int64_t width, float *states, float *kept, float *room) {
    const int64_t wide = recur->outer;
    float *before = room, *rest = before + rows * wide;
    for (int64_t t = 0; t < steps; t++, enter += rows * wide, states += rows * width) {
        float *next = states + rows * width;
        map_rows(recur, states, rows, rest, before);
        for (int64_t r = 0; r < rows; r++) {
            const float *own = enter + r * wide;
            if (part == GRU)
                gru_after(own, before + r * wide, states + r * width, width, next + r * width,
                          kept + (t * rows + r) * 4 * width);
            else
                plain_after(part, own, before + r * wide, width, next + r * width);
        }
    }
}

/* Slopes of what enters and, of a GRU, of what came before (steps,rows,gates*width), from those of the outputs
   (steps,rows,width) and of the last state, `by` (rows,width), which becomes that of the first. back maps slopes of
   what came before to those of the state. room for rows * (2 * width + gates * width + 1) float32. */
void sequence_back(int64_t part, const struct map *back, const float *outputs_by, int64_t steps, int64_t rows,
                   int64_t width, const float *states, const float *kept, float *by, float *enter, float *before,
                   float *room) {
    const int64_t wide = back->inner;
    float *straight = room, *mapped = straight + rows * width, *rest = mapped + rows * width;
    for (int64_t t = steps - 1; t >= 0; t--) {
        const float *now = outputs_by + t * rows * width, *past = states + t * rows * width;
        float *to = enter + t * rows * wide, *also = part == GRU ? before + t * rows * wide : to;
        for (int64_t i = 0; i < rows * width; i++) by[i] += now[i];
        for (int64_t r = 0; r < rows; r++) {
            if (part == GRU)
                gru_back(by + r * width, kept + (t * rows + r) * 4 * width, past + r * width, width, to + r * wide,
                         also + r * wide, straight + r * width);
            else
                plain_back(part, by + r * width, past + (rows + r) * width, width, to + r * wide,
                           straight + r * width);
        }
        map_rows(back, also, rows, rest, mapped);
        for (int64_t i = 0; i < rows * width; i++) by[i] = straight[i] + mapped[i];
    }
}
