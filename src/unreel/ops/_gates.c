/* The recurrences on the CPU as Python calls them: the gates, a step at a time (ops/gates.py), and whole recurrences
 * over vectors and over images (ops/series.py), whose plain twin is the loop of ops/fused.py.
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
#include "_series.h"
#include "_images.h"

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

/* Of both calls on images: what comes first in their arguments. */
static void head_of(Images *images, const int64_t *a, Table *table) {
    *images = (Images){.kind = (int)a[0], .steps = a[1], .clips = a[2], .hidden = a[3], .activation = (int)a[4],
                       .recurrent = (int)a[5], .threads = (int)a[6], .depth = a[7], .in_height = a[8], .in_width = a[9],
                       .height = a[10], .width = a[11], .tall = a[12], .wide = a[13], .top = a[14], .left = a[15],
                       .starts = (int)a[16], .x = (void *)a[17], .kernel = (void *)a[23],
                       .recurrent_kernel = (void *)a[24], .h_first = (void *)a[25], .c_first = (void *)a[26],
                       .h = (void *)a[27], .c = (void *)a[28], .kept = (void *)a[29]};
    for (int k = 0; k < 5; k++) images->x_strides[k] = a[18 + k];
    images->gates = GATES[images->kind];
    images->pixels = images->clips * images->height * images->width;
    images->products = choose_products();
    images->table = table;
    if (images->hidden < NARROW) tabulate(table, BLOCK / images->hidden, images->gates, images->hidden);
}

static PyObject *forward_image_series(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[33];
    if (!numbers(arguments, given, 33, a)) return NULL;
    Images images;
    Table table;
    head_of(&images, a, &table);
    images.bias = (void *)a[30];
    images.lift = (void *)a[31];
    images.c_moves = (int)a[32];
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = forward_images(&images);
    Py_END_ALLOW_THREADS;
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *backward_image_series(PyObject *module, PyObject *const *arguments, Py_ssize_t given) {
    int64_t a[45];
    if (!numbers(arguments, given, 45, a)) return NULL;
    Images images;
    Table table;
    head_of(&images, a, &table);
    images.dout = (void *)a[30];
    for (int k = 0; k < 4; k++) images.dout_strides[k] = a[31 + k];
    images.dh = (void *)a[35];
    images.dc = (void *)a[36];
    images.dx = (void *)a[37];
    images.dkernel = (void *)a[38];
    images.drecurrent = (void *)a[39];
    images.dbias = (void *)a[40];
    images.dbias_h = (void *)a[41];
    images.ends = (void *)a[42];
    images.dh_end = (void *)a[43];
    images.dc_end = (void *)a[44];
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = backward_images(&images);
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
    {"forward_images", (PyCFunction)(void (*)(void))forward_image_series, METH_FASTCALL, "All steps over images."},
    {"backward_images", (PyCFunction)(void (*)(void))backward_image_series, METH_FASTCALL, "Their gradients."},
    {"advise", (PyCFunction)(void (*)(void))advise, METH_FASTCALL, "Large pages, where the system has them."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_gates", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__gates(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module) PyModule_AddIntConstant(module, "INTERFACE", 4); /* changes with the arguments; ops/gates.py asks */
    return module;
}
