/* The gates of RNN, LSTM and GRU on the CPU, a step at a time, and whole recurrences over vectors in one call.
 *
 * The plain twin is ops/gates.py, with the same arguments by name; that of whole recurrences is the loop of
 * ops/fused.py.
 *
 * Threads are those of PyTorch: compiled with -fopenmp but not linked with it, this file finds the OpenMP runtime that
 * PyTorch has loaded, so two pools never fight for the same cores.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#ifdef __linux__
#include <sys/mman.h>
#endif
#include "_gates.h"
#include "_product.h"

/* Each thread takes one run of rows, always the same for a number of threads, and sums its own biases, which are then
 * added up in order: the result does not depend on who came first. `sums` is (threads, 2, width). */
static void run(Rows rows_of, Step *step, int threads, float *sums, long gates) {
    long block = BLOCK / step->hidden, width = gates * step->hidden;
    long blocks = (step->rows + block - 1) / block;
    if (blocks < 2 * threads) threads = 1;
    Table table;
    if (step->hidden < NARROW) tabulate(&table, block < step->rows ? block : step->rows, gates, step->hidden);
    step->table = &table;
    if (sums) memset(sums, 0, sizeof(float) * (size_t)(threads * 2 * width));
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        Step mine = *step;
        if (sums) {
            mine.dbias = sums + thread * 2 * width;
            mine.dbias_h = mine.dbias + width;
        }
        long last = blocks * (thread + 1) / threads * block;
        if (last > step->rows) last = step->rows;
        for (long from = blocks * thread / threads * block; from < last; from += block)
            rows_of(&mine, from, from + block < last ? from + block : last);
    }
    if (!sums) return;
    for (int thread = 0; thread < threads; thread++)
        for (long j = 0; j < width; j++) {
            step->dbias[j] += sums[thread * 2 * width + j];
            if (step->dbias_h) step->dbias_h[j] += sums[(thread * 2 + 1) * width + j];
        }
}

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

static void forward_block(const Series *s, const Table *table, const Products *products, const float *w, const float *u, float *z,
                          long from, long n) {
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

static void backward_block(const Series *s, const Table *table, const Products *products, const float *u, float *sums, long from,
                           long n) {
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

/* Arguments are whole numbers, addresses among them; 0 stands for NULL. ops/gates.py checks all that lies behind. */
static int numbers(PyObject *const *arguments, Py_ssize_t given, Py_ssize_t wanted, int64_t *out) {
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "expected %zd numbers, got %zd", wanted, given);
        return 0;
    }
    for (Py_ssize_t k = 0; k < given; k++) {
        out[k] = PyLong_AsLongLong(arguments[k]);
        if (out[k] == -1 && PyErr_Occurred()) return 0;
    }
    return 1;
}

static PyObject *forward(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[14];
    if (!numbers(arguments, given, 14, a)) return NULL;
    Step step = {.rows = a[1], .hidden = a[2], .activation = (int)a[3], .recurrent = (int)a[4],
                 .zx = (void *)a[6], .zh = (void *)a[7], .base = (void *)a[8], .h_before = (void *)a[9],
                 .c_before = (void *)a[10], .h = (void *)a[11], .c = (void *)a[12], .kept = (void *)a[13]};
    Py_BEGIN_ALLOW_THREADS;
    run(FORWARD[a[0]], &step, (int)a[5], NULL, GATES[a[0]]);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *backward(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[18];
    if (!numbers(arguments, given, 18, a)) return NULL;
    Step step = {.rows = a[1], .hidden = a[2], .activation = (int)a[3], .recurrent = (int)a[4],
                 .dh = (void *)a[6], .dc = (void *)a[7], .kept_before = (void *)a[8], .h_before = (void *)a[9],
                 .c_before = (void *)a[10], .h = (void *)a[11], .c_after = (void *)a[12], .dzx = (void *)a[13],
                 .dzh = (void *)a[14], .dbias = (void *)a[15], .dbias_h = (void *)a[16]};
    Py_BEGIN_ALLOW_THREADS;
    run(BACKWARD[a[0]], &step, (int)a[5], (float *)a[17], GATES[a[0]]);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *forward_series(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[20];
    if (!numbers(arguments, given, 20, a)) return NULL;
    Series series = {.kind = (int)a[0], .steps = a[1], .rows = a[2], .hidden = a[3], .activation = (int)a[4],
                     .recurrent = (int)a[5], .threads = (int)a[6], .depth = a[7], .x = (void *)a[8],
                     .kernel = (void *)a[9], .bias = (void *)a[10], .zx = (void *)a[11], .lift = (void *)a[12],
                     .recurrent_kernel = (void *)a[13], .h_first = (void *)a[14], .c_first = (void *)a[15],
                     .h = (void *)a[16], .c = (void *)a[17], .c_moves = (int)a[18], .kept = (void *)a[19]};
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = run_series(&series, 0);
    Py_END_ALLOW_THREADS;
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *backward_series(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[22];
    if (!numbers(arguments, given, 22, a)) return NULL;
    Series series = {.kind = (int)a[0], .steps = a[1], .rows = a[2], .hidden = a[3], .activation = (int)a[4],
                     .recurrent = (int)a[5], .threads = (int)a[6], .recurrent_kernel = (void *)a[7],
                     .h_first = (void *)a[8], .c_first = (void *)a[9], .h = (void *)a[10], .c = (void *)a[11],
                     .kept = (void *)a[12], .dout = (void *)a[13], .ends = (void *)a[14], .dc_end = (void *)a[15],
                     .dh = (void *)a[16], .dc = (void *)a[17], .dzx = (void *)a[18], .dzh = (void *)a[19],
                     .dbias = (void *)a[20], .dbias_h = (void *)a[21]};
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = run_series(&series, 1);
    Py_END_ALLOW_THREADS;
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Ask for large pages behind fresh memory: a page fault for each 4 KiB costs as much as the gates themselves. */
static PyObject *advise(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[2];
    if (!numbers(arguments, given, 2, a)) return NULL;
#ifdef MADV_HUGEPAGE
    uintptr_t page = 4096, first = ((uintptr_t)a[0] + page - 1) & ~(page - 1);
    uintptr_t last = ((uintptr_t)a[0] + (uintptr_t)a[1]) & ~(page - 1);
    if (last > first) madvise((void *)first, last - first, MADV_HUGEPAGE);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"forward", (PyCFunction)(void (*)(void))forward, METH_FASTCALL, "One step of the gates."},
    {"backward", (PyCFunction)(void (*)(void))backward, METH_FASTCALL, "The gradients of one step of the gates."},
    {"forward_series", (PyCFunction)(void (*)(void))forward_series, METH_FASTCALL, "All steps of a recurrence."},
    {"backward_series", (PyCFunction)(void (*)(void))backward_series, METH_FASTCALL, "Their gradients."},
    {"advise", (PyCFunction)(void (*)(void))advise, METH_FASTCALL, "Large pages, where the system has them."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_gates", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__gates(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module) PyModule_AddIntConstant(module, "INTERFACE", 2); /* changes with the arguments; ops/gates.py asks */
    return module;
}
