/* The gates of RNN, LSTM and GRU over a block of rows, forward and backward, in one pass over memory, in float32.
 *
 * Rows are positions (clips times places in space); a row of z holds G gates of H features side by side. Blocks of
 * rows are first gathered gate by gate, so that all arithmetic runs over flat arrays in the first-level cache, whatever
 * H is, and compilers vectorise it. The plain twin is ops/gates.py.
 */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define ON_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ON_EACH_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 1024 }; /* floats of a gate at a time: eight such arrays stay in the first-level cache */
enum { TANH, SIGMOID, RELU, LINEAR, HARD_SIGMOID, HARD_SIGMOID_KERAS2 };

/* exp(x) to 1 ulp or so: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes). Saturates; NaN stays NaN. */
INLINE float exponential(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to whole numbers */
    x = x > 80.0f ? 80.0f : x; /* beyond, 1 / (1 + e^x) would be a denormal number, and slow */
    x = x < -80.0f ? -80.0f : x;
    float shifted = x * 1.44269504f + magic;
    float n = shifted - magic;
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits + (127 - 0x4B400000)) << 23; /* the whole number sits in the low bits of `shifted` */
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

INLINE float hyperbolic(float x) {
    float square = x * x; /* a polynomial near zero, where 1 - 2 / (e^2x + 1) cancels (Cephes) */
    float near = -5.70498872745e-3f;
    near = near * square + 2.06390887954e-2f;
    near = near * square - 5.37397155531e-2f;
    near = near * square + 1.33314422036e-1f;
    near = near * square - 3.33332819422e-1f;
    near = near * square * x + x;
    float far = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
    return square < 0.390625f ? near : far;
}

INLINE void activate(int kind, float *restrict x, long n) {
    switch (kind) {
    case TANH:
        for (long k = 0; k < n; k++) x[k] = hyperbolic(x[k]);
        break;
    case SIGMOID:
        for (long k = 0; k < n; k++) x[k] = 1.0f / (1.0f + exponential(-x[k]));
        break;
    case RELU:
        for (long k = 0; k < n; k++) x[k] = x[k] < 0.0f ? 0.0f : x[k];
        break;
    case LINEAR:
        break;
    default:
        for (long k = 0; k < n; k++) {
            float y = kind == HARD_SIGMOID ? (x[k] + 3.0f) / 6.0f : 0.2f * x[k] + 0.5f;
            y = y < 0.0f ? 0.0f : y;
            x[k] = y > 1.0f ? 1.0f : y;
        }
    }
}

/* d[k] *= dy/dx at the output y[k] */
INLINE void times_slope(int kind, float *restrict d, const float *restrict y, long n) {
    switch (kind) {
    case TANH:
        for (long k = 0; k < n; k++) d[k] *= 1.0f - y[k] * y[k];
        break;
    case SIGMOID:
        for (long k = 0; k < n; k++) d[k] *= y[k] * (1.0f - y[k]);
        break;
    case RELU:
        for (long k = 0; k < n; k++) d[k] = y[k] > 0.0f ? d[k] : 0.0f;
        break;
    case LINEAR:
        break;
    default:
        for (long k = 0; k < n; k++) {
            float slope = kind == HARD_SIGMOID ? 1.0f / 6.0f : 0.2f;
            d[k] = y[k] > 0.0f && y[k] < 1.0f ? d[k] * slope : 0.0f;
        }
    }
}

/* For narrow gates, where loops over H are too short to vectorise: where each feature of a block's gate lies in rows of
 * z, place[row·H + feature], and where each feature of those rows lies among the gates, back[row·G·H + feature]. */
enum { NARROW = 16 };
typedef struct {
    int32_t place[BLOCK], back[4 * BLOCK];
} Table;

static void tabulate(Table *table, long rows, long gates, long hidden) {
    long k = 0, m = 0;
    for (long r = 0; r < rows; r++) {
        for (long j = 0; j < hidden; j++) table->place[k++] = (int32_t)(r * gates * hidden + j);
        for (long g = 0; g < gates; g++)
            for (long j = 0; j < hidden; j++) table->back[m++] = (int32_t)(g * BLOCK + r * hidden + j);
    }
}

/* out (rows, H) = gate number `g` of z (rows, gates·H), plus that of `also` unless NULL */
INLINE void gather(const Table *table, float *restrict out, const float *restrict z, const float *restrict also,
                   long rows, long gates, long g, long hidden) {
    long width = gates * hidden, n = rows * hidden;
    z += g * hidden;
    if (also) also += g * hidden;
    if (hidden < NARROW) {
        const int32_t *restrict place = table->place;
        if (also)
            for (long k = 0; k < n; k++) out[k] = z[place[k]] + also[place[k]];
        else
            for (long k = 0; k < n; k++) out[k] = z[place[k]];
        return;
    }
    for (long r = 0; r < rows; r++) {
        if (also)
            for (long j = 0; j < hidden; j++) out[j] = z[j] + also[j];
        else
            for (long j = 0; j < hidden; j++) out[j] = z[j];
        out += hidden;
        z += width;
        if (also) also += width;
    }
}

/* every row of z back to what the next step's products are added to, while it is in cache */
INLINE void refill(float *restrict z, const float *restrict base, long rows, long width) {
    if (!base) return;
    for (long r = 0; r < rows; r++, z += width)
        for (long j = 0; j < width; j++) z[j] = base[j];
}

/* the inverse, all gates at once: d (gates, BLOCK) into dz (rows, gates·H), and the sums over rows into dbias */
INLINE void scatter(const Table *table, float *restrict dz, float *restrict dbias, const float *restrict d, long rows,
                    long gates, long hidden) {
    long width = gates * hidden, n = rows * width;
    if (hidden < NARROW) {
        const int32_t *restrict back = table->back;
        for (long k = 0; k < n; k++) dz[k] = d[back[k]];
    } else {
        for (long r = 0; r < rows; r++)
            for (long g = 0; g < gates; g++)
                memcpy(dz + r * width + g * hidden, d + g * BLOCK + r * hidden, sizeof(float) * (size_t)hidden);
    }
    float sums[4 * BLOCK]; /* of these rows first: the error of a sum grows with its terms */
    memcpy(sums, dz, sizeof(float) * (size_t)width);
    for (long r = 1; r < rows; r++)
        for (long j = 0; j < width; j++) sums[j] += dz[r * width + j];
    for (long j = 0; j < width; j++) dbias[j] += sums[j];
}

typedef struct {
    long rows, hidden;
    int activation, recurrent;
    const Table *table;
    /* forward: zh may be NULL; kept (planes of rows·H) is NULL where there will be no backward; base, unless NULL, is
     * what every row of zx is left with for the next step (b), and base + G·H the same of zh */
    float *zx, *zh;
    const float *base;
    const float *h_before, *c_before;
    float *h, *c, *kept;
    /* backward: dc is changed in place into the one before, and so is dh of a GRU, but for the products */
    const float *kept_before, *c_after;
    float *dh, *dc, *dzx, *dzh, *dbias, *dbias_h;
} Step;

ON_EACH_CPU static void lstm_forward(const Step *s, long from, long to) {
    float scratch[5][BLOCK];
    long hidden = s->hidden, width = 4 * hidden, plane = s->rows * hidden;
    long offset = from * hidden, rows = to - from, n = rows * hidden;
    float *gate[4];
    for (int g = 0; g < 4; g++) {
        gate[g] = s->kept ? s->kept + g * plane + offset : scratch[g];
        gather(s->table, gate[g], s->zx + from * width, s->zh ? s->zh + from * width : NULL, rows, 4, g, hidden);
    }
    refill(s->zx + from * width, s->base, rows, width);
    float *restrict enter = gate[0], *restrict forget = gate[1], *restrict candidate = gate[2];
    float *restrict leave = gate[3], *restrict out = scratch[4];
    const float *before = s->c_before + offset;
    float *c = s->c + offset, *h = s->h + offset;
    activate(s->recurrent, enter, n);
    activate(s->recurrent, forget, n);
    activate(s->activation, candidate, n);
    activate(s->recurrent, leave, n);
    for (long k = 0; k < n; k++) out[k] = c[k] = forget[k] * before[k] + enter[k] * candidate[k];
    activate(s->activation, out, n);
    for (long k = 0; k < n; k++) h[k] = leave[k] * out[k];
}

ON_EACH_CPU static void lstm_backward(const Step *s, long from, long to) {
    float d[6][BLOCK];
    long hidden = s->hidden, width = 4 * hidden, plane = s->rows * hidden;
    long offset = from * hidden, rows = to - from, n = rows * hidden;
    const float *restrict enter = s->kept_before + offset, *restrict forget = enter + plane;
    const float *restrict candidate = forget + plane, *restrict leave = candidate + plane;
    const float *restrict before = s->c_before + offset, *restrict after = s->c_after + offset;
    const float *restrict dh = s->dh + offset;
    float *restrict dc = s->dc + offset;
    float *restrict out = d[4], *restrict through = d[5];
    for (long k = 0; k < n; k++) out[k] = after[k];
    activate(s->activation, out, n);
    for (long k = 0; k < n; k++) {
        d[3][k] = dh[k] * out[k];
        through[k] = dh[k] * leave[k];
    }
    times_slope(s->activation, through, out, n);
    for (long k = 0; k < n; k++) {
        float whole = dc[k] + through[k];
        d[0][k] = whole * candidate[k];
        d[1][k] = whole * before[k];
        d[2][k] = whole * enter[k];
        dc[k] = whole * forget[k];
    }
    times_slope(s->recurrent, d[0], enter, n);
    times_slope(s->recurrent, d[1], forget, n);
    times_slope(s->activation, d[2], candidate, n);
    times_slope(s->recurrent, d[3], leave, n);
    scatter(s->table, s->dzx + from * width, s->dbias, d[0], rows, 4, hidden);
}

ON_EACH_CPU static void gru_forward(const Step *s, long from, long to) {
    float scratch[4][BLOCK];
    long hidden = s->hidden, width = 3 * hidden, plane = s->rows * hidden;
    long offset = from * hidden, rows = to - from, n = rows * hidden;
    float *part[4];
    for (int g = 0; g < 4; g++) part[g] = s->kept ? s->kept + g * plane + offset : scratch[g];
    float *restrict reset = part[0], *restrict update = part[1], *restrict candidate = part[2];
    float *restrict product = part[3]; /* h·U of the candidate, which the reset gate scales */
    float *zx = s->zx + from * width, *zh = s->zh + from * width;
    gather(s->table, reset, zx, zh, rows, 3, 0, hidden);
    gather(s->table, update, zx, zh, rows, 3, 1, hidden);
    gather(s->table, candidate, zx, NULL, rows, 3, 2, hidden);
    gather(s->table, product, zh, NULL, rows, 3, 2, hidden);
    refill(zx, s->base, rows, width);
    refill(zh, s->base ? s->base + width : NULL, rows, width);
    const float *before = s->h_before + offset;
    float *h = s->h + offset;
    activate(s->recurrent, reset, n);
    activate(s->recurrent, update, n);
    for (long k = 0; k < n; k++) candidate[k] += reset[k] * product[k];
    activate(s->activation, candidate, n);
    for (long k = 0; k < n; k++) h[k] = candidate[k] + update[k] * (before[k] - candidate[k]);
}

ON_EACH_CPU static void gru_backward(const Step *s, long from, long to) {
    float d[4][BLOCK];
    long hidden = s->hidden, width = 3 * hidden, plane = s->rows * hidden;
    long offset = from * hidden, rows = to - from, n = rows * hidden;
    const float *restrict reset = s->kept_before + offset, *restrict update = reset + plane;
    const float *restrict candidate = update + plane, *restrict product = candidate + plane;
    const float *restrict before = s->h_before + offset;
    float *restrict dh = s->dh + offset;
    for (long k = 0; k < n; k++) {
        d[1][k] = dh[k] * (before[k] - candidate[k]);
        d[2][k] = dh[k] * (1.0f - update[k]);
        dh[k] *= update[k];
    }
    times_slope(s->recurrent, d[1], update, n);
    times_slope(s->activation, d[2], candidate, n);
    for (long k = 0; k < n; k++) {
        d[0][k] = d[2][k] * product[k];
        d[3][k] = d[2][k] * reset[k];
    }
    times_slope(s->recurrent, d[0], reset, n);
    scatter(s->table, s->dzx + from * width, s->dbias, d[0], rows, 3, hidden);
    memcpy(d[2], d[3], sizeof(float) * (size_t)n);
    scatter(s->table, s->dzh + from * width, s->dbias_h, d[0], rows, 3, hidden);
}

ON_EACH_CPU static void rnn_forward(const Step *s, long from, long to) {
    long offset = from * s->hidden;
    long n = (to - from) * s->hidden;
    float *restrict zx = s->zx + offset;
    const float *restrict zh = s->zh ? s->zh + offset : NULL;
    float *restrict h = s->h + offset;
    for (long k = 0; k < n; k++) h[k] = zh ? zx[k] + zh[k] : zx[k];
    refill(zx, s->base, to - from, s->hidden);
    activate(s->activation, h, n);
}

ON_EACH_CPU static void rnn_backward(const Step *s, long from, long to) {
    float d[BLOCK];
    long offset = from * s->hidden, n = (to - from) * s->hidden;
    memcpy(d, s->dh + offset, sizeof(float) * (size_t)n);
    times_slope(s->activation, d, s->h + offset, n);
    scatter(s->table, s->dzx + offset, s->dbias, d, to - from, 1, s->hidden);
}

typedef void (*Rows)(const Step *, long, long);

static const Rows FORWARD[] = {rnn_forward, lstm_forward, gru_forward};
static const Rows BACKWARD[] = {rnn_backward, lstm_backward, gru_backward};
static const long GATES[] = {1, 4, 3};
