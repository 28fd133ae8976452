/* Interpolated laws of the next symbol from counts: the loop of KneserNey in processes/ngram.py for one row at a time. */
#include <math.h>
#include <stdint.h>

struct level {
    const int64_t *keys, *first, *pair, *pair_first;
    const int32_t *symbol, *pair_symbol;
    const float *mass, *total, *discount, *pair_mass, *pair_total, *pair_discount;
    const int64_t *keys_first, *own_first; /* of each context of the level before, of each of this one: in keys, in pair */
};

/* The first place of an ascending list whose number is not below the wanted one. */
static int64_t first_place(const int64_t *list, int64_t n, int64_t wanted) {
    int64_t low = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        const int right = list[low + half] < wanted;
        low = right ? low + half + 1 : low;
        n = right ? n - half - 1 : half;
    }
    return low;
}

/* Where a number stands in the part of an ascending list from first[0] to first[1], or -1. */
static int64_t place(const int64_t *list, const int64_t *first, int64_t wanted) {
    const int64_t at = first[0] + first_place(list + first[0], first[1] - first[0], wanted);
    return at < first[1] && list[at] == wanted ? at : -1;
}

/* Where laws are asked for: at place at[r] of row row[r] of symbols (.,length), since[r] symbols after the beginning of
   the sequence; or, without symbols, after contexts (rows,columns), the nearest symbol first. part: null, or without
   what these parts of the text have. */
struct asked {
    const int64_t *symbols, *row, *at, *since, *contexts, *part;
    int64_t length, rows, columns;
};

/* The symbol that stands so many places before, `size` where the sequence begins, or -1. */
static int64_t before(const struct asked *asked, int64_t r, int64_t back, int64_t size) {
    if (!asked->symbols) return asked->contexts[r * asked->columns + back - 1];
    if (back > asked->since[r]) return back == asked->since[r] + 1 ? size : -1;
    const int64_t at = asked->at[r] - back;
    return at < 0 ? -1 : asked->symbols[asked->row[r] * asked->length + at];
}

/* By what the masses of context `own` of a level are multiplied, 0 where nothing is seen there; the law so far is
   multiplied by what `scale` becomes. Where a part is given (not -1), `pair` is what it has of that context, or -1. */
static float weight_of(const struct level *level, int64_t own, int64_t parts, int64_t part, float *scale, int64_t *pair) {
    float total = level->total[own], discount = level->discount[own];
    *pair = part < 0 ? -1 : place(level->pair, level->own_first + own, own * parts + part);
    if (*pair >= 0) {
        total -= level->pair_total[*pair];
        discount -= level->pair_discount[*pair];
    }
    if (!(total > 0.5f)) return 0;
    *scale *= discount / total;
    return 1.0f / (total * *scale);
}

/* The logarithm of a mean of two laws: of what logits (size) say, and of a law (size), which is overwritten, times `scale`.
   The chance of the second is the sigmoid of `by`. */
static void averaged(const float *from, float by, float scale, int64_t size, float *law) {
    float most = from[0], sum = 0;
    for (int64_t s = 1; s < size; s++) most = from[s] > most ? from[s] : most;
    for (int64_t s = 0; s < size; s++) sum += expf(from[s] - most);
    const float counted = 1 / (1 + expf(-by)), own = 1 / (1 + expf(by)) / sum;
    for (int64_t s = 0; s < size; s++) law[s] = logf(own * expf(from[s] - most) + counted * scale * law[s]);
}

/* out (rows,size): the logarithms of the laws. Where logits (rows,size+1) are given, the last of each row and `gate` are
   a weight by which they are added to the others, or, where a `mean` is wanted, by which the law is that of both. */
void ngram_laws(const struct level *levels, int64_t order, int64_t size, int64_t parts, const struct asked *asked,
                const float *logits, float gate, int mean, float *out) {
    const int64_t rows = asked->rows, *part = asked->part;
    const int64_t depth = order < asked->columns + 1 ? order : asked->columns + 1;
    const float uniform = 1.0f / (float)size;
    for (int64_t r = 0; r < rows; r++) {
        float *law = out + r * size, scale = 1.0f;
        int64_t own = 0;
        for (int64_t s = 0; s < size; s++) law[s] = uniform;
        for (int64_t k = 0; k < depth; k++) {
            const struct level *level = levels + k;
            if (k) {
                const int64_t symbol = before(asked, r, k, size);
                if (symbol < 0) break;
                own = place(level->keys, level->keys_first + own, own * (size + 1) + symbol);
                if (own < 0) break;
            }
            int64_t pair;
            const float weight = weight_of(level, own, parts, part ? part[r] : -1, &scale, &pair);
            if (weight == 0) continue;
            for (int64_t e = level->first[own]; e < level->first[own + 1]; e++)
                law[level->symbol[e]] += weight * level->mass[e];
            if (pair >= 0)
                for (int64_t e = level->pair_first[pair]; e < level->pair_first[pair + 1]; e++)
                    law[level->pair_symbol[e]] += weight * level->pair_mass[e];
        }
        const float *from = logits ? logits + r * (size + 1) : 0, by = logits ? from[size] + gate : 0;
        for (int64_t s = 0; s < size; s++) law[s] = law[s] > uniform ? law[s] : uniform;
        if (logits && mean) {
            averaged(from, by, scale, size, law);
            continue;
        }
        const float shift = logf(scale);
        for (int64_t s = 0; s < size; s++) law[s] = logf(law[s]) + shift;
        if (logits) {
            for (int64_t s = 0; s < size; s++) law[s] = from[s] + by * law[s];
        }
    }
}

/* Of many symbols: where the laws differ from those of symbols alone, base (K,size), which[r] of them. They are
   base + shift (rows), and at some symbols `more`, of which row, symbol and more (most) hold one each, those of a row in
   any order. law is exp(base), scales (K) by what it is multiplied. room for size float32 and 2 * size int32. Gives how
   many places there are; *done is how many rows, from *done on: fewer than there are where `most` was reached. */
int64_t ngram_sparse_laws(const struct level *levels, int64_t order, int64_t size, int64_t parts,
                          const struct asked *asked, const float *base, const float *law, const float *scales,
                          int64_t most, float *sums, int32_t *marks, int64_t *done, float *shift, int64_t *row,
                          int64_t *symbol, float *more) {
    const int64_t depth = order < asked->columns + 1 ? order : asked->columns + 1;
    const float uniform = 1.0f / (float)size;
    int32_t *touched = marks + size;
    int64_t places = 0, r = *done;
    for (int64_t s = 0; s < size; s++) marks[s] = -1;
    for (; r < asked->rows && places + size <= most; r++) {
        const int64_t part = asked->part ? asked->part[r] : -1;
        float scale = scales[part + 1];
        int64_t own = 0;
        int32_t count = 0;
        for (int64_t k = 1; k < depth; k++) {
            const struct level *level = levels + k;
            const int64_t next = before(asked, r, k, size);
            if (next < 0) break;
            own = place(level->keys, level->keys_first + own, own * (size + 1) + next);
            if (own < 0) break;
            int64_t pair;
            const float weight = weight_of(level, own, parts, part, &scale, &pair);
            if (weight == 0) continue;
            for (int both = 0; both < 2; both++) { /* what all have, and what taking a part away changes */
                if (both && pair < 0) break;
                const int64_t *first = both ? level->pair_first + pair : level->first + own;
                const int32_t *of = both ? level->pair_symbol : level->symbol;
                const float *mass = both ? level->pair_mass : level->mass;
                for (int64_t e = first[0]; e < first[1]; e++) {
                    const int32_t s = of[e];
                    if (marks[s] != (int32_t)r) marks[s] = (int32_t)r, sums[s] = 0, touched[count++] = s;
                    sums[s] += weight * mass[e];
                }
            }
        }
        const int64_t from = (part + 1) * size;
        for (int32_t i = 0; i < count; i++, places++) {
            const int32_t s = touched[i];
            const float whole = law[from + s] + sums[s];
            row[places] = r, symbol[places] = s;
            more[places] = logf(whole > uniform ? whole : uniform) - base[from + s];
        }
        shift[r] = logf(scale);
    }
    *done = r;
    return places;
}

/* As SparseLaw of processes/ngram.py. */
struct sparse {
    const float *base, *shift, *more;
    const int64_t *which, *row, *symbol;
    int64_t places;
    float gate;
};

/* out (rows,size): logits, the first columns of from (rows,size+count), to which each of `count` laws is added by its own
   of the last columns and its gate. */
void sparse_added(const struct sparse *laws, int64_t count, const float *from, int64_t rows, int64_t size, float *out) {
    const int64_t wide = size + count;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float *to = out + r * size;
        for (int64_t s = 0; s < size; s++) to[s] = from[r * wide + s];
        for (int64_t i = 0; i < count; i++) {
            const float by = from[r * wide + size + i] + laws[i].gate, shift = laws[i].shift[r];
            const float *base = laws[i].base + laws[i].which[r] * size;
            for (int64_t s = 0; s < size; s++) to[s] += by * (base[s] + shift);
        }
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t e = 0; e < laws[i].places; e++) {
            const int64_t r = laws[i].row[e];
            out[r * size + laws[i].symbol[e]] += (from[r * wide + size + i] + laws[i].gate) * laws[i].more[e];
        }
}

/* From the slopes of what came out (rows,size) those of what went in, into (rows,size+count). */
void sparse_added_back(const struct sparse *laws, int64_t count, const float *by, int64_t rows, int64_t size,
                       float *into) {
    const int64_t wide = size + count;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *own = by + r * size;
        for (int64_t s = 0; s < size; s++) into[r * wide + s] = own[s];
        for (int64_t i = 0; i < count; i++) {
            const float *base = laws[i].base + laws[i].which[r] * size, shift = laws[i].shift[r];
            float sums[16] = {0}, sum = 0;
            const int64_t even = size / 16 * 16;
            for (int64_t s = 0; s < even; s += 16)
                for (int64_t lane = 0; lane < 16; lane++) sums[lane] += own[s + lane] * (base[s + lane] + shift);
            for (int64_t lane = 0; lane < 16; lane++) sum += sums[lane];
            for (int64_t s = even; s < size; s++) sum += own[s] * (base[s] + shift);
            into[r * wide + size + i] = sum;
        }
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t e = 0; e < laws[i].places; e++) {
            const int64_t r = laws[i].row[e];
            into[r * wide + size + i] += by[r * size + laws[i].symbol[e]] * laws[i].more[e];
        }
}
