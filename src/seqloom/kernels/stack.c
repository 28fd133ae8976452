/* Stacks of layers between symbols or numbers and a head, and draws from them; behind ngram.c and rows.c, in one
   program. */
#ifdef _OPENMP
#include <omp.h>
#endif
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

enum part { LSTM, GRU, TANH, RELU, ATTENTION, FORWARD, ACROSS };

/* One part of a layer, with a norm before it. Of a recurrent one the two maps are of what enters, and of what came out
   before; of attention, to what a row has read or across the channels of an element, they give queries, keys and
   values, and map what was read; of a feed-forward part they lead up and down. */
struct part_of {
    struct norm_of norm, query, key; /* the last two, of attention, over the features of a head */
    const struct map *first, *second;
    const float *sink; /* how well, for each head, nothing fits; or null */
    int64_t part, heads, shared, each; /* heads of queries, those of keys and values, and features of a head */
};

/* What a part remembers of each row. Of a recurrent one `values` (rows,1|2,width). Of attention keys and values
   (rows,shared,room,each): those of element p lie at p mod room. The row reads its element number `length` (rows) now,
   and sees `window` elements, that one among them, since `start` (rows, or null) at the earliest.
   Where there is a `past`, its first `taken` (rows) elements are those of one that other rows have too, past `owner`
   (rows): keys by columns (pasts,shared,each,past_room) and values (pasts,shared,past_room,each), past_room being a
   multiple of LANES; and those after it lie from 0 on. */
struct memory {
    float *values, *keys;
    const float *turns; /* complex numbers (positions,each / 2) that queries and keys are multiplied by, or null */
    const int64_t *length, *start;
    const float *past_values, *past_keys;
    const int64_t *owner, *taken;
    int64_t room, window, past_room;
};

/* Parts between what enters and a head. Symbols enter by a table (int8 with a scale for each row, bfloat16 or float32,
   as `kind` says). Numbers enter by a map, each `channels` rows being those of one element: of its numbers (all of one
   channel of each after one another, and the last `common` of all channels) a row has its own, and its identity
   (channels,width; or null) is added. What each part makes is added to what enters it where the stack is `residual`. */
struct stack {
    const void *table;
    const float *scale;
    const struct part_of *parts;
    const struct map *head;
    struct norm_of norm;
    int64_t kind, depth, width, residual;
    const float *gain; /* one number, or null */
    int64_t widest; /* of all that the maps take and give */
    const struct map *enter;
    const float *identity;
    int64_t channels, common;
};

/* Neighbouring features as the two parts of complex numbers, turned by others. */
static void turned(float *x, const float *turns, int64_t features) {
    for (int64_t i = 0; i + 1 < features; i += 2) {
        const float a = x[i] * turns[i] - x[i + 1] * turns[i + 1], b = x[i] * turns[i + 1] + x[i + 1] * turns[i];
        x[i] = a, x[i + 1] = b;
    }
}

static inline floats greater(floats a, floats b) {
    const words more = (words)(a > b);
    return (floats)(((words)a & more) | ((words)b & ~more));
}

/* How well n keys (n,stride) fit a query (each), to `fits`. */
static void fitted(const float *query, const float *keys, int64_t n, int64_t stride, int64_t each, float *fits) {
    for (int64_t i = 0; i < n; i++) fits[i] = dot(query, keys + i * stride, each);
}

/* The same of keys that lie by columns (each,room), a multiple of LANES at a time. */
static void fitted_columns(const float *query, const float *keys, int64_t n, int64_t room, int64_t each, float *fits) {
    for (int64_t s = 0; s < n; s += 4 * LANES) {
        int64_t o[4];
        for (int k = 0; k < 4; k++) o[k] = s + k * LANES < room ? s + k * LANES : room - LANES;
        floats a = {0}, b = a, c = a, d = a;
        for (int64_t e = 0; e < each; e++) {
            const floats all = query[e] - (floats){0};
            const float *own = keys + e * room;
            a = fused(all, load(own + o[0]), a), b = fused(all, load(own + o[1]), b);
            c = fused(all, load(own + o[2]), c), d = fused(all, load(own + o[3]), d);
        }
        *(somewhere *)(fits + o[0]) = (somewhere)a, *(somewhere *)(fits + o[1]) = (somewhere)b;
        *(somewhere *)(fits + o[2]) = (somewhere)c, *(somewhere *)(fits + o[3]) = (somewhere)d;
    }
}

/* n values (n,stride), each times its share, are added to out (each). */
static void add_shares(const float *shares, const float *values, int64_t n, int64_t stride, int64_t each, float *out) {
    int64_t e = 0;
    for (; e + 4 * LANES <= each; e += 4 * LANES) {
        floats a = load(out + e), b = load(out + e + LANES), c = load(out + e + 2 * LANES), d = load(out + e + 3 * LANES);
        for (int64_t i = 0; i < n; i++) {
            const floats all = shares[i] - (floats){0};
            const float *own = values + i * stride + e;
            a = fused(all, load(own), a), b = fused(all, load(own + LANES), b);
            c = fused(all, load(own + 2 * LANES), c), d = fused(all, load(own + 3 * LANES), d);
        }
        *(somewhere *)(out + e) = (somewhere)a, *(somewhere *)(out + e + LANES) = (somewhere)b;
        *(somewhere *)(out + e + 2 * LANES) = (somewhere)c, *(somewhere *)(out + e + 3 * LANES) = (somewhere)d;
    }
    for (; e + LANES <= each; e += LANES) {
        floats a = load(out + e);
        for (int64_t i = 0; i < n; i++) a = fused(shares[i] - (floats){0}, load(values + i * stride + e), a);
        *(somewhere *)(out + e) = (somewhere)a;
    }
    for (; e < each; e++)
        for (int64_t i = 0; i < n; i++) out[e] += shares[i] * values[i * stride + e];
}

/* n fits become shares of their sum: of e^(fit * by), beside that of a sink, where there is one. There is room for a
   multiple of LANES. */
static void shared_out(float *fits, int64_t n, float by, const float *sink) {
    const int64_t whole = (n + LANES - 1) / LANES * LANES;
    for (int64_t i = n; i < whole; i++) fits[i] = -INFINITY;
    floats most = load(fits), sums = {0};
    for (int64_t i = LANES; i < whole; i += LANES) most = greater(most, load(fits + i));
    float top = -INFINITY, sum, part[LANES];
    memcpy(part, &most, sizeof part);
    for (int j = 0; j < LANES; j++) top = part[j] > top ? part[j] : top;
    top *= by;
    top = sink && *sink > top ? *sink : top;
    for (int64_t i = 0; i < whole; i++) fits[i] = exponential(fits[i] * by - top);
    for (int64_t i = n; i < whole; i++) fits[i] = 0;
    for (int64_t i = 0; i < whole; i += LANES) sums += load(fits + i);
    sum = summed(sums) + (sink ? exponential(*sink - top) : 0);
    for (int64_t i = 0; i < whole; i++) fits[i] /= sum;
}

/* What a head sees: of a past whose keys lie by columns, and of keys and values (room,each) from slot `first` on, after
   the last of which comes the first. */
struct seen {
    const float *past_keys, *past_values, *keys, *values;
    int64_t past, past_room, first, count, room;
};

/* What is read by one head (each) of all that it sees, whose shares are worked out in `fits`. */
static void attended(const float *query, const struct seen *seen, int64_t each, const float *sink, float *fits,
                     float *out) {
    const int64_t to_end = seen->room - seen->first;
    const int64_t later = seen->count < to_end ? seen->count : to_end, again = seen->count - later;
    if (seen->past) fitted_columns(query, seen->past_keys, seen->past, seen->past_room, each, fits);
    float *own = fits + seen->past;
    fitted(query, seen->keys + seen->first * each, later, each, each, own);
    fitted(query, seen->keys, again, each, each, own + later);
    shared_out(fits, seen->past + seen->count, 1.0f / sqrtf((float)each), sink);
    memset(out, 0, each * sizeof *out);
    add_shares(fits, seen->past_values, seen->past, each, each, out);
    add_shares(own, seen->values + seen->first * each, later, each, each, out);
    add_shares(own + later, seen->values, again, each, each, out);
}

/* Queries, keys and values (rows,heads + 2 * shared,each), of rows from `row` on, to what is read (rows,heads,each)
   `ahead` elements after those that the memory tells of. */
static void attend(const struct part_of *of, const struct memory *memory, float *mapped, int64_t row, int64_t rows,
                   int64_t ahead, float *fits, float *out) {
    const int64_t each = of->each, heads = of->heads, shared = of->shared, room = memory->room;
    for (int64_t r = row; r < row + rows; r++, mapped += (heads + 2 * shared) * each, out += heads * each) {
        const int64_t place = memory->length[r] + ahead, taken = memory->taken ? memory->taken[r] : 0;
        const int64_t slot = (place - taken) % room;
        float *own = mapped + heads * each, *values = own + shared * each;
        normed(&of->query, mapped, heads, each, mapped);
        normed(&of->key, own, shared, each, own);
        if (memory->turns)
            for (int64_t h = 0; h < heads + shared; h++) turned(mapped + h * each, memory->turns + place * each, each);
        const int64_t begun = place + 1 - memory->window, least = memory->start ? memory->start[r] : taken;
        const int64_t first = begun > least ? begun : least;
        for (int64_t s = 0; s < shared; s++) {
            const int64_t begin = (r * shared + s) * room * each;
            memcpy(memory->keys + begin + slot * each, own + s * each, each * sizeof *own);
            memcpy(memory->values + begin + slot * each, values + s * each, each * sizeof *own);
            const int64_t past = taken ? (memory->owner[r] * shared + s) * memory->past_room * each : 0;
            const struct seen seen = {memory->past_keys + past, memory->past_values + past, memory->keys + begin,
                                      memory->values + begin,   taken, memory->past_room, (first - taken) % room,
                                      place + 1 - first,        room};
            for (int64_t h = s * (heads / shared); h < (s + 1) * (heads / shared); h++)
                attended(mapped + h * each, &seen, each, of->sink ? of->sink + h : 0, fits, out + h * each);
        }
    }
}

/* Queries, keys and values (rows,3,heads,each) to what is read (rows,heads,each) by each channel of an element of all
   of them. */
static void across(const struct part_of *of, const float *mapped, int64_t rows, int64_t channels, float *fits,
                   float *out) {
    const int64_t each = of->each, width = of->heads * each, stride = 3 * width;
    const float by = 1.0f / sqrtf((float)each);
    for (int64_t r = 0; r < rows; r++, out += width) {
        const float *element = mapped + r / channels * channels * stride, *query = mapped + r * stride;
        memset(out, 0, width * sizeof *out);
        for (int64_t h = 0; h < width; h += each) {
            fitted(query + h, element + width + h, channels, stride, each, fits);
            shared_out(fits, channels, by, 0);
            add_shares(fits, element + 2 * width + h, channels, stride, each, out + h);
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

/* What of numbers (elements,channels * own + common) enters the rows from `row` on. */
static void entered(const struct stack *stack, const float *x, int64_t row, int64_t rows, float *own, float *rest,
                    float *out) {
    const int64_t channels = stack->channels, inner = stack->enter->inner, apart = inner - stack->common;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t channel = (row + r) % channels;
        const float *from = x + (row + r) / channels * (channels * apart + stack->common);
        for (int64_t i = 0; i < apart; i++) own[r * inner + i] = from[i * channels + channel];
        memcpy(own + r * inner + apart, from + channels * apart, stack->common * sizeof *own);
    }
    map_rows(stack->enter, own, rows, rest, out);
    if (!stack->identity) return;
    for (int64_t r = 0; r < rows; r++) {
        const float *identity = stack->identity + (row + r) % channels * stack->width;
        for (int64_t i = 0; i < stack->width; i++) out[r * stack->width + i] += identity[i];
    }
}

/* The same for some of the rows, from `row` on. */
static void some_rows(const struct stack *stack, const void *given, int64_t row, int64_t rows,
                      const struct memory *memories, int64_t ahead, float *room, float *out) {
    const int64_t width = stack->width, wide = rows * stack->widest;
    float *h = room, *x = h + rows * width, *a = x + rows * width, *b = a + wide, *next = b + wide, *rest = next + wide;
    float *fits = rest + wide + rows;
    if (stack->enter)
        entered(stack, given, row, rows, a, rest, h);
    else
        for (int64_t r = 0; r < rows; r++) looked_up(stack, ((const int64_t *)given)[row + r], h + r * width);
    for (int64_t p = 0; p < stack->depth; p++) {
        const struct part_of *of = stack->parts + p;
        const struct memory *memory = memories + p;
        normed(&of->norm, h, rows, width, x);
        if (of->part < ATTENTION) {
            const int64_t kept = of->part == LSTM ? 2 : 1;
            recur(of, memory->values + row * kept * width, x, rows, width, rest, a, b, next);
        } else {
            map_rows(of->first, x, rows, rest, a);
            if (of->part == ATTENTION)
                attend(of, memory, a, row, rows, ahead, fits, b);
            else if (of->part == ACROSS)
                across(of, a, rows, stack->channels, fits, b);
            else
                for (int64_t i = 0; i < rows * of->first->outer; i++) b[i] = a[i] > 0 ? a[i] * a[i] : 0;
            map_rows(of->second, b, rows, rest, x);
        }
        const int added = stack->residual || of->part == ACROSS;
        for (int64_t i = 0; i < rows * width; i++) h[i] = added ? h[i] + x[i] : x[i];
    }
    normed(&stack->norm, h, rows, width, x);
    if (stack->gain)
        for (int64_t i = 0; i < rows * width; i++) x[i] *= *stack->gain;
    map_rows(stack->head, x, rows, rest, out + row * stack->head->outer);
}

/* A matrix in float32 in panels, where it can be; gives what is left of the room. */
static float *in_panels(const struct map *map, struct map *laid, float *room) {
    *laid = *map;
    if (map->kind != FLOAT32 || map->outer % LANES) return room;
    const float *from = map->weight;
    for (int64_t o = 0; o < map->outer; o += LANES)
        for (int64_t i = 0; i < map->inner; i++)
            for (int j = 0; j < LANES; j++) room[o * map->inner + i * LANES + j] = from[(o + j) * map->inner + i];
    laid->weight = room, laid->kind = PANELS;
    return room + map->outer * map->inner;
}

/* Of numbers there may be very many rows: so many at once (of whole elements), which stay near the processor. */
#define AT_ONCE 128

int64_t stack_rows_at_once(const struct stack *stack, int64_t rows) {
    const int64_t elements = AT_ONCE / stack->channels, most = (elements ? elements : 1) * stack->channels;
    return stack->enter && most < rows ? most : rows;
}

/* What is put out (rows,outputs) after symbols (rows), or numbers, are read, `ahead` elements after those that the
   memories tell of; these go on. For each of `threads` there is room for n * (2 * width + 4 * widest + 1) + longest
   float32, n being the rows that are read at once and `longest` how many elements are attended to at most, and LANES;
   and where numbers enter, before these, for all matrices. Of symbols there is one thread, and maps have several. */
void stack_step(const struct stack *stack, const void *given, int64_t rows, const struct memory *memories, int64_t ahead,
                int64_t longest, int64_t threads, float *room, float *out) {
    if (!stack->enter) {
        some_rows(stack, given, 0, rows, memories, ahead, room, out);
        return;
    }
    struct map maps[2 * stack->depth + 2];
    struct part_of parts[stack->depth];
    struct stack laid = *stack;
    room = in_panels(stack->enter, maps, room), laid.enter = maps;
    room = in_panels(stack->head, maps + 1, room), laid.head = maps + 1;
    for (int64_t p = 0; p < stack->depth; p++) {
        struct map *own = maps + 2 + 2 * p;
        parts[p] = stack->parts[p];
        room = in_panels(parts[p].first, own, room), parts[p].first = own;
        room = in_panels(parts[p].second, own + 1, room), parts[p].second = own + 1;
    }
    laid.parts = parts;
    const int64_t each = stack_rows_at_once(stack, rows);
    const int64_t apart = each * (2 * stack->width + 4 * stack->widest + 1) + longest;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; row += each) {
#ifdef _OPENMP
        float *own = room + omp_get_thread_num() * apart;
#else
        float *own = room;
#endif
        some_rows(&laid, given, row, row + each < rows ? each : rows - row, memories, ahead, own, out);
    }
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
        some_rows(stack, symbols, 0, rows, memories, step, room, logits);
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
