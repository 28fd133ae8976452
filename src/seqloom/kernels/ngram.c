/* Interpolated laws of the next symbol from counts: the loop of KneserNey in processes/ngram.py for one row at a time. */
#include <math.h>
#include <stdint.h>

struct level {
    const int64_t *keys, *first, *pair, *pair_first;
    const int32_t *symbol, *pair_symbol;
    const float *mass, *total, *discount, *pair_mass, *pair_total, *pair_discount;
    int64_t contexts, pairs;
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

/* Where a number stands in it, or -1. */
static int64_t place(const int64_t *list, int64_t n, int64_t wanted) {
    const int64_t at = first_place(list, n, wanted);
    return at < n && list[at] == wanted ? at : -1;
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

/* out (rows,size): the logarithms of the laws. Where logits (rows,size+1) are given, the last of each row and `gate` are
   a weight by which they are added to the others. */
void ngram_laws(const struct level *levels, int64_t order, int64_t size, int64_t parts, const struct asked *asked,
                const float *logits, float gate, float *out) {
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
                own = place(level->keys, level->contexts, own * (size + 1) + symbol);
                if (own < 0) break;
            }
            float total = level->total[own], discount = level->discount[own];
            int64_t pair = -1;
            if (part) {
                pair = place(level->pair, level->pairs, own * parts + part[r]);
                if (pair >= 0) {
                    total -= level->pair_total[pair];
                    discount -= level->pair_discount[pair];
                }
            }
            if (!(total > 0.5f)) continue;
            scale *= discount / total;
            const float weight = 1.0f / (total * scale);
            for (int64_t e = level->first[own]; e < level->first[own + 1]; e++)
                law[level->symbol[e]] += weight * level->mass[e];
            if (pair >= 0)
                for (int64_t e = level->pair_first[pair]; e < level->pair_first[pair + 1]; e++)
                    law[level->pair_symbol[e]] += weight * level->pair_mass[e];
        }
        const float shift = logf(scale);
        for (int64_t s = 0; s < size; s++) law[s] = logf(law[s] > uniform ? law[s] : uniform) + shift;
        if (logits) {
            const float *from = logits + r * (size + 1), by = from[size] + gate;
            for (int64_t s = 0; s < size; s++) law[s] = from[s] + by * law[s];
        }
    }
}
