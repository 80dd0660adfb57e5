/* A whole recurrence over vectors. Clips do not know of each other, so each thread takes a run of them, in blocks whose
 * state stays in the first-level cache, through all steps: no thread ever waits for another.
 *
 * Series are time first, (T, N, ·), and follow each other by `rows` clips; x is (N, T, depth). */
typedef struct {
    int kind, activation, recurrent, threads;
    long steps, rows, hidden, depth;
    const float *x, *kernel, *bias; /* forward: either these, or zx (T, N, G·H), which holds x·W + b */
    const float *zx, *lift;         /* lift: the recurrent bias as a GRU's zh begins with it; NULL for zeros */
    const float *recurrent_kernel;
    const float *h_first, *c_first;
    float *h, *c, *kept; /* c_moves: c is a series; else one place that each step overwrites */
    int c_moves;
    /* backward: dout, NULL for zeros; dh and dc (N, H) of the last state, changed in place into those of the first;
     * where ends are given, dc of a clip's last state is added from dc_end when its last frame is reached */
    const float *dout, *dc_end;
    const int64_t *ends;
    float *dh, *dc, *dzx, *dzh, *dbias, *dbias_h;
} Series;

/* Gradients that fade over many steps end as denormal numbers, each a hundred times as slow as a zero. While these run
 * on a thread, they are zeros. Gives what to hand to `denormals_back`. */
static unsigned no_denormals(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040); /* flush to zero, denormals are zeros */
    return before;
#else
    return 0;
#endif
}

static void denormals_back(unsigned before) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_ldmxcsr(before);
#endif
}

/* Blocks of equal size, as many for each thread, none longer than fits. */
static long block_of(const Series *s, int *threads) {
    long longest = BLOCK / s->hidden;
    if (s->rows < *threads) *threads = (int)s->rows;
    long each = (s->rows + *threads - 1) / *threads;
    long blocks = (each + longest - 1) / longest;
    return (each + blocks - 1) / blocks;
}

static void fill(float *z, const float *row, long rows, long width) {
    for (long r = 0; r < rows; r++, z += width)
        if (row) memcpy(z, row, sizeof(float) * (size_t)width);
        else memset(z, 0, sizeof(float) * (size_t)width);
}

static void forward_block(const Series *s, const Table *table, const Products *products, const float *w,
                          const float *u, float *z, long from, long n) {
    long gates = GATES[s->kind], width = gates * s->hidden, state = s->rows * s->hidden, offset = from * s->hidden;
    int gru = gates == 3;
    float *zh = z + n * width;
    const float *h_before = s->h_first + offset, *c_before = s->c_first + offset;
    Step step = {.rows = s->rows, .hidden = s->hidden, .activation = s->activation, .recurrent = s->recurrent,
                 .table = table, .zx = z, .zh = gru ? zh : NULL};
    for (long t = 0; t < s->steps; t++) {
        if (s->x) {
            fill(z, s->bias, n, width);
            add_packed(products, z, n, width, s->x + (from * s->steps + t) * s->depth, s->steps * s->depth, 0, 1,
                       s->depth, w);
        } else
            memcpy(z, s->zx + (t * s->rows + from) * width, sizeof(float) * (size_t)(n * width));
        if (gru) fill(zh, s->lift, n, width);
        add_packed(products, gru ? zh : z, n, width, h_before, s->hidden, 0, 1, s->hidden, u);
        step.h_before = h_before;
        step.c_before = c_before;
        step.h = s->h + t * state + offset;
        step.c = s->c + (s->c_moves ? t * state : 0) + offset;
        step.kept = s->kept ? s->kept + t * 4 * state + offset : NULL;
        FORWARD[s->kind](&step, 0, n);
        h_before = step.h;
        c_before = step.c;
    }
}

static void backward_block(const Series *s, const Table *table, const Products *products, const float *u, float *sums,
                           long from, long n) {
    long gates = GATES[s->kind], hidden = s->hidden, width = gates * hidden;
    long state = s->rows * hidden, offset = from * hidden;
    float *dh = s->dh + offset, *dc = s->dc ? s->dc + offset : NULL;
    Step step = {.rows = s->rows, .hidden = hidden, .activation = s->activation, .recurrent = s->recurrent,
                 .table = table, .dh = dh, .dc = dc, .dbias = sums, .dbias_h = sums + width};
    for (long t = s->steps - 1; t >= 0; t--) {
        if (s->dout) {
            const float *dout = s->dout + t * state + offset;
            for (long k = 0; k < n * hidden; k++) dh[k] += dout[k];
        }
        if (s->ends && s->dc_end)
            for (long r = 0; r < n; r++)
                if (s->ends[from + r] == t + 1)
                    for (long j = 0; j < hidden; j++) dc[r * hidden + j] += s->dc_end[offset + r * hidden + j];
        step.kept_before = s->kept + t * 4 * state + offset;
        step.h_before = (t ? s->h + (t - 1) * state : s->h_first) + offset;
        step.c_before = (t ? s->c + (t - 1) * state : s->c_first) + offset;
        step.h = s->h + t * state + offset;
        step.c_after = s->c + t * state + offset;
        step.dzx = s->dzx + (t * s->rows + from) * width;
        step.dzh = s->dzh + (t * s->rows + from) * width;
        BACKWARD[s->kind](&step, 0, n);
        if (gates != 3) fill(dh, NULL, n, hidden); /* of a GRU some passes by the products */
        add_packed(products, dh, n, hidden, step.dzh, width, 0, 1, width, u);
    }
}

/* 0 where there was no memory */
static int run_series(Series *s, int backwards) {
    Products products = choose_products();
    long panel = products.panel, gates = GATES[s->kind], width = gates * s->hidden;
    int threads = s->threads;
    long block = block_of(s, &threads);
    size_t for_u = backwards ? packed_size(width, s->hidden, panel) : packed_size(s->hidden, width, panel);
    size_t for_w = s->x ? packed_size(s->depth, width, panel) : 0;
    size_t each = backwards ? (size_t)(2 * width) : (size_t)(2 * block * width);
    float *memory = PyMem_RawMalloc(sizeof(float) * (for_u + for_w + each * (size_t)threads));
    if (!memory) return 0;
    float *u = memory, *w = memory + for_u, *scratch = w + for_w;
    if (backwards) pack(u, s->recurrent_kernel, width, s->hidden, panel, 1);
    else pack(u, s->recurrent_kernel, s->hidden, width, panel, 0);
    if (s->x) pack(w, s->kernel, s->depth, width, panel, 0);
    if (backwards) memset(scratch, 0, sizeof(float) * each * (size_t)threads);
    Table table;
    if (s->hidden < NARROW) tabulate(&table, block, gates, s->hidden);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        float *mine = scratch + (size_t)thread * each;
        unsigned before = no_denormals();
        long last = s->rows * (thread + 1) / threads;
        for (long from = s->rows * thread / threads; from < last; from += block) {
            long n = from + block < last ? block : last - from;
            if (backwards) backward_block(s, &table, &products, u, mine, from, n);
            else forward_block(s, &table, &products, w, u, mine, from, n);
        }
        denormals_back(before);
    }
    if (backwards)
        for (int thread = 0; thread < threads; thread++)
            for (long j = 0; j < width; j++) {
                s->dbias[j] += scratch[(size_t)thread * each + (size_t)j];
                if (s->dbias_h) s->dbias_h[j] += scratch[(size_t)thread * each + (size_t)(width + j)];
            }
    PyMem_RawFree(memory);
    return 1;
}
