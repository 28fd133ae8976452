/* Minimal GRU and LSTM over whole sequences, and back; behind rows.c, in one program.

   h_t = (1 - u_t) h_(t-1) + u_t c_t, each feature by itself, where u and c come from one projection of the element:
   u = sigmoid(gate) of a GRU, i / (f + i) of an LSTM, i and f being sigmoids. What of a sequence is projected lies in
   float32 or in bfloat16 (half), (rows,steps,gates*width), the candidate last; all else in float32. */

/* The two gates of the LSTM come first, the gate of the GRU alone. */
enum minimal { MINIMAL_GRU, MINIMAL_LSTM };

/* The features of one element in float32: its own, or a copy in room. */
static const float *widened(int half, const void *from, int64_t at, int64_t count, float *restrict room) {
    if (!half) return (const float *)from + at;
    const uint16_t *own = (const uint16_t *)from + at;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)own[i] << 16;
        memcpy(room + i, &bits, 4);
    }
    return room;
}

/* The other way, rounded to the nearest, of two the even one. */
static void narrowed(int half, const float *restrict from, int64_t count, void *to, int64_t at) {
    if (!half) {
        memcpy((float *)to + at, from, count * sizeof *from);
        return;
    }
    uint16_t *own = (uint16_t *)to + at;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, from + i, 4);
        own[i] = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

/* The state after an element; of the past so much is kept, 1 or nothing. */
static void gru_element(const float *restrict gate, const float *restrict candidate, const float *restrict past,
                        float kept, int64_t width, float *restrict next) {
    for (int64_t i = 0; i < width; i++) {
        const float u = sigmoid(gate[i]);
        next[i] = (1.0f - u) * kept * past[i] + u * candidate[i];
    }
}

static void lstm_element(const float *restrict enter, const float *restrict forget, const float *restrict candidate,
                         const float *restrict past, float kept, int64_t width, float *restrict next) {
    for (int64_t i = 0; i < width; i++) {
        const float a = 1.0f + exponential(-enter[i]), b = 1.0f + exponential(-forget[i]), u = b / (a + b);
        next[i] = (1.0f - u) * kept * past[i] + u * candidate[i];
    }
}

/* From the slope `by` of the state, and what comes `onward` from later ones, those of what was projected; onward
   becomes that of the past. */
static void gru_element_back(const float *restrict gate, const float *restrict candidate, const float *restrict past,
                             const float *restrict by, float kept, int64_t width, float *restrict onward,
                             float *restrict of_gate, float *restrict of_candidate) {
    for (int64_t i = 0; i < width; i++) {
        const float u = sigmoid(gate[i]), reached = by[i] + onward[i];
        of_gate[i] = reached * (candidate[i] - kept * past[i]) * u * (1.0f - u);
        of_candidate[i] = reached * u;
        onward[i] = reached * (1.0f - u) * kept;
    }
}

static void lstm_element_back(const float *restrict enter, const float *restrict forget,
                              const float *restrict candidate, const float *restrict past, const float *restrict by,
                              float kept, int64_t width, float *restrict onward, float *restrict of_enter,
                              float *restrict of_forget, float *restrict of_candidate) {
    for (int64_t i = 0; i < width; i++) {
        const float a = 1.0f + exponential(-enter[i]), b = 1.0f + exponential(-forget[i]), u = b / (a + b);
        const float reached = by[i] + onward[i], of_u = reached * (candidate[i] - kept * past[i]) * u * (1.0f - u);
        of_enter[i] = of_u * (1.0f - 1.0f / a);
        of_forget[i] = -of_u * (1.0f - 1.0f / b);
        of_candidate[i] = reached * u;
        onward[i] = reached * (1.0f - u) * kept;
    }
}

/* h (rows,steps,width) from start (rows,width); begins (rows,steps), or null, says where nothing is remembered. room
   for 8 * width float32 a row. */
static void minimal_row(int64_t kind, int half, const void *p, const uint8_t *begins, const float *start, int64_t steps,
                        int64_t width, float *h, float *room, int64_t first) {
    const int64_t gates = kind == MINIMAL_GRU ? 2 : 3, wide = gates * width;
    const float *past = start;
    for (int64_t t = 0; t < steps; t++) {
        const float *own = widened(half, p, first + t * wide, wide, room), *candidate = own + (gates - 1) * width;
        const float kept = begins && begins[t] ? 0.0f : 1.0f;
        float *next = h + t * width;
        if (kind == MINIMAL_GRU)
            gru_element(own, candidate, past, kept, width, next);
        else
            lstm_element(own, own + width, candidate, past, kept, width, next);
        past = next;
    }
}

void minimal_forward(int64_t kind, int64_t half, const void *p, const uint8_t *begins, const float *start, int64_t rows,
                     int64_t steps, int64_t width, float *room, float *h) {
    const int64_t wide = (kind == MINIMAL_GRU ? 2 : 3) * width;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        minimal_row(kind, (int)half, p, begins ? begins + r * steps : begins, start + r * width, steps, width,
                    h + r * steps * width, room + r * 8 * width, r * steps * wide);
}

/* From the slopes `by` of h those of the projection, in what that lies in, and of start, into of_start. */
static void minimal_row_back(int64_t kind, int half, const void *p, const uint8_t *begins, const float *start,
                             const float *h, const float *by, int64_t steps, int64_t width, void *of_p,
                             float *onward, float *room, int64_t first) {
    const int64_t gates = kind == MINIMAL_GRU ? 2 : 3, wide = gates * width;
    float *of = room + 4 * width;
    for (int64_t i = 0; i < width; i++) onward[i] = 0;
    for (int64_t t = steps - 1; t >= 0; t--) {
        const float *own = widened(half, p, first + t * wide, wide, room), *candidate = own + (gates - 1) * width;
        const float *past = t ? h + (t - 1) * width : start, *now = by + t * width;
        const float kept = begins && begins[t] ? 0.0f : 1.0f;
        if (kind == MINIMAL_GRU)
            gru_element_back(own, candidate, past, now, kept, width, onward, of, of + width);
        else
            lstm_element_back(own, own + width, candidate, past, now, kept, width, onward, of, of + width,
                              of + 2 * width);
        narrowed(half, of, wide, of_p, first + t * wide);
    }
}

void minimal_back(int64_t kind, int64_t half, const void *p, const uint8_t *begins, const float *start, const float *h,
                  const float *by, int64_t rows, int64_t steps, int64_t width, float *room, void *of_p,
                  float *of_start) {
    const int64_t wide = (kind == MINIMAL_GRU ? 2 : 3) * width;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        minimal_row_back(kind, (int)half, p, begins ? begins + r * steps : begins, start + r * width,
                         h + r * steps * width, by + r * steps * width, steps, width, of_p, of_start + r * width,
                         room + r * 8 * width, r * steps * wide);
}
