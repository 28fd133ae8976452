/* Stacks of layers between symbols and a head, and draws from them; behind ngram.c and rows.c, in one program. */
enum norm { NONE, LAYER, ROOT };

/* A norm over the features of each row: of layers, or of their root mean square, with a gain and (of LAYER) a shift. */
struct norm_of {
    const float *gain, *shift;
    int64_t norm;
    double least;
};

/* The sum of what lies `middle` away, or of the squares of that. */
static double total_of(const float *x, int64_t n, double middle, int squares) {
    double part[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const double away = x[i + j] - middle;
            part[j] += squares ? away * away : away;
        }
    for (int j = 0; j < LANES; j++) sum += part[j];
    for (; i < n; i++) {
        const double away = x[i] - middle;
        sum += squares ? away * away : away;
    }
    return sum;
}

static void normed(const struct norm_of *of, const float *x, int64_t rows, int64_t width, float *out) {
    for (int64_t r = 0; r < rows; r++, x += width, out += width) {
        if (of->norm == NONE) {
            memcpy(out, x, width * sizeof *out);
            continue;
        }
        const double mean = of->norm == LAYER ? total_of(x, width, 0, 0) / (double)width : 0;
        const double square = total_of(x, width, mean, 1) / (double)width;
        const float scale = (float)(1.0 / sqrt(square + of->least)), middle = (float)mean;
        for (int64_t i = 0; i < width; i++)
            out[i] = (x[i] - middle) * scale * of->gain[i] + (of->shift ? of->shift[i] : 0.0f);
    }
}

enum part { LSTM, GRU, TANH, RELU, ATTENTION, FORWARD };

/* One part of a layer, with a norm before it. Of a recurrent one the two maps are of what enters, and of what came out
   before; of attention they give queries, keys and values, and map what was read; of a feed-forward part they lead up
   and down. */
struct part_of {
    struct norm_of norm, query, key; /* the last two, of attention, over the features of a head */
    const struct map *first, *second;
    const float *sink; /* how well, for each head, nothing fits; or null */
    int64_t part, heads, shared, each; /* heads of queries, those of keys and values, and features of a head */
};

/* What a part remembers of each row. Of a recurrent one `values` (rows,1|2,width). Of attention keys and values
   (rows,shared,room,each): those of element p lie at p mod room. The row reads its element number `length` (rows) now,
   and sees `window` elements, that one among them, since `start` (rows, or null) at the earliest. */
struct memory {
    float *values, *keys;
    const float *turns; /* complex numbers (positions,each / 2) that queries and keys are multiplied by, or null */
    const int64_t *length, *start;
    int64_t room, window;
};

/* Parts between a table of symbols (int8 with a scale for each row, bfloat16 or float32, as `kind` says) and a head.
   What each part makes is added to what enters it where the stack is `residual`. */
struct stack {
    const void *table;
    const float *scale;
    const struct part_of *parts;
    const struct map *head;
    struct norm_of norm;
    int64_t kind, depth, width, residual;
    const float *gain; /* one number, or null */
    int64_t widest; /* of all that the maps take and give */
};

/* Neighbouring features as the two parts of complex numbers, turned by others. */
static void turned(float *x, const float *turns, int64_t features) {
    for (int64_t i = 0; i + 1 < features; i += 2) {
        const float a = x[i] * turns[i] - x[i + 1] * turns[i + 1], b = x[i] * turns[i + 1] + x[i + 1] * turns[i];
        x[i] = a, x[i + 1] = b;
    }
}

/* What is read by one head (each) of elements first..last, whose weights are worked out in `fits`. */
static void attended(const float *query, const float *keys, const float *values, int64_t first, int64_t last,
                     int64_t room, int64_t each, const float *sink, float *fits, float *out) {
    const float by = 1.0f / sqrtf((float)each);
    float most = sink ? *sink : -INFINITY, sum;
    for (int64_t p = first, slot = first % room; p <= last; p++, slot = slot + 1 < room ? slot + 1 : 0) {
        const float fit = dot(query, keys + slot * each, each) * by;
        fits[p - first] = fit;
        most = fit > most ? fit : most;
    }
    for (int64_t i = 0; i <= last - first; i++) fits[i] = exponential(fits[i] - most);
    sum = sink ? exponential(*sink - most) : 0;
    for (int64_t i = 0; i <= last - first; i++) sum += fits[i];
    for (int64_t e = 0; e < each; e++) out[e] = 0;
    for (int64_t p = first, slot = first % room; p <= last; p++, slot = slot + 1 < room ? slot + 1 : 0) {
        const float weight = fits[p - first] / sum, *value = values + slot * each;
        for (int64_t e = 0; e < each; e++) out[e] += weight * value[e];
    }
}

/* Queries, keys and values (rows,heads + 2 * shared,each) to what is read (rows,heads,each) `ahead` elements after those
   that the memory tells of. */
static void attend(const struct part_of *of, const struct memory *memory, float *mapped, int64_t rows, int64_t ahead,
                   float *fits, float *out) {
    const int64_t each = of->each, heads = of->heads, shared = of->shared, room = memory->room;
    for (int64_t r = 0; r < rows; r++, mapped += (heads + 2 * shared) * each, out += heads * each) {
        const int64_t place = memory->length[r] + ahead, slot = place % room;
        float *own = mapped + heads * each, *values = own + shared * each;
        normed(&of->query, mapped, heads, each, mapped);
        normed(&of->key, own, shared, each, own);
        if (memory->turns)
            for (int64_t h = 0; h < heads + shared; h++) turned(mapped + h * each, memory->turns + place * each, each);
        const int64_t least = memory->start ? memory->start[r] : 0, seen = place + 1 - memory->window;
        for (int64_t s = 0; s < shared; s++) {
            const int64_t begin = (r * shared + s) * room * each;
            memcpy(memory->keys + begin + slot * each, own + s * each, each * sizeof *own);
            memcpy(memory->values + begin + slot * each, values + s * each, each * sizeof *own);
            for (int64_t h = s * (heads / shared); h < (s + 1) * (heads / shared); h++)
                attended(mapped + h * each, memory->keys + begin, memory->values + begin, seen > least ? seen : least,
                         place, room, each, of->sink ? of->sink + h : 0, fits, out + h * each);
        }
    }
}

/* What comes out of a recurrence takes the place of what enters, x (rows,width). */
static void recur(const struct part_of *of, float *values, float *x, int64_t rows, int64_t width, void *rest, float *a,
                  float *b, float *next) {
    const int64_t kept = of->part == LSTM ? 2 : 1;
    map_rows(of->first, x, rows, rest, a);
    for (int64_t r = 0; r < rows; r++) memcpy(x + r * width, values + kept * r * width, width * sizeof *x);
    map_rows(of->second, x, rows, rest, b);
    if (of->part == LSTM) {
        lstm_after(a, b, values, rows, width, next);
    } else if (of->part == GRU) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < width; i++) {
                const float *enter = a + 3 * r * width + i, *before = b + 3 * r * width + i;
                const float reset = sigmoid(enter[0] + before[0]), update = sigmoid(enter[width] + before[width]);
                const float candidate = hyperbolic(enter[2 * width] + reset * before[2 * width]);
                next[r * width + i] = candidate + update * (values[r * width + i] - candidate);
            }
    } else {
        for (int64_t i = 0; i < rows * width; i++) {
            const float sum = a[i] + b[i];
            next[i] = of->part == TANH ? hyperbolic(sum) : sum > 0 ? sum : 0;
        }
    }
    memcpy(values, next, rows * kept * width * sizeof *next);
    for (int64_t r = 0; r < rows; r++) memcpy(x + r * width, values + kept * r * width, width * sizeof *x);
}

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

/* What is put out (rows,outputs) after symbols (rows) are read, `ahead` elements after those that the memories tell of;
   these go on. room for rows * (2 * width + 4 * widest + 1) + longest float32, of which `longest` is how many elements
   are attended to at most. */
void stack_step(const struct stack *stack, const int64_t *symbols, int64_t rows, const struct memory *memories,
                int64_t ahead, float *room, float *out) {
    const int64_t width = stack->width, wide = rows * stack->widest;
    float *h = room, *x = h + rows * width, *a = x + rows * width, *b = a + wide, *next = b + wide, *rest = next + wide;
    float *fits = rest + wide + rows;
    for (int64_t r = 0; r < rows; r++) looked_up(stack, symbols[r], h + r * width);
    for (int64_t p = 0; p < stack->depth; p++) {
        const struct part_of *of = stack->parts + p;
        const struct memory *memory = memories + p;
        normed(&of->norm, h, rows, width, x);
        if (of->part < ATTENTION) {
            recur(of, memory->values, x, rows, width, rest, a, b, next);
        } else {
            map_rows(of->first, x, rows, rest, a);
            if (of->part == ATTENTION)
                attend(of, memory, a, rows, ahead, fits, b);
            else
                for (int64_t i = 0; i < rows * of->first->outer; i++) b[i] = a[i] > 0 ? a[i] * a[i] : 0;
            map_rows(of->second, b, rows, rest, x);
        }
        for (int64_t i = 0; i < rows * width; i++) h[i] = stack->residual ? h[i] + x[i] : x[i];
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

/* A law of ngram.c beside a stack, whose last output is a weight of it; contexts (rows,columns) go on with what is drawn,
   and logits (rows,size) are worked in. */
struct law {
    const struct level *levels;
    int64_t *contexts;
    float *logits;
    int64_t order, size, parts, columns;
    float gate;
    int mean;
};

static void go_on(const struct law *law, int64_t r, int64_t symbol) {
    if (!law->columns) return;
    int64_t *own = law->contexts + r * law->columns;
    memmove(own + 1, own, (law->columns - 1) * sizeof *own);
    *own = symbol;
}

/* Symbols (rows,most) drawn one after another, each after those before it, from `symbols` (rows) on, by one number each
   of u (rows,most); none of `never`. How many: fewer than `most` where every row has drawn `end` (-1: there is none),
   whose rows `ended` marks. law: null, or what goes with the outputs. The logits (rows,outputs) and total (outputs)
   are worked in. */
int64_t stack_draw(const struct stack *stack, int64_t *symbols, int64_t rows, const struct memory *memories,
                   float *room, const struct law *law, const double *u, int64_t most, const int64_t *never,
                   int64_t nevers, int64_t end, uint8_t *ended, float *logits, double *total, int64_t *drawn) {
    const int64_t size = law ? law->size : stack->head->outer;
    for (int64_t step = 0; step < most; step++) {
        stack_step(stack, symbols, rows, memories, step, room, logits);
        if (law) {
            const struct asked asked = {.contexts = law->contexts, .rows = rows, .columns = law->columns};
            ngram_laws(law->levels, law->order, size, law->parts, &asked, logits, law->gate, law->mean,
                       law->logits);
        }
        int over = end >= 0;
        for (int64_t r = 0; r < rows; r++) {
            float *own = (law ? law->logits : logits) + r * size;
            for (int64_t i = 0; i < nevers; i++) own[never[i]] = -INFINITY;
            const int64_t symbol = picked(own, size, u[r * most + step], total);
            drawn[r * most + step] = symbols[r] = symbol;
            if (law) go_on(law, r, symbol);
            ended[r] |= symbol == end;
            over &= ended[r];
        }
        if (over) return step + 1;
    }
    return most;
}
