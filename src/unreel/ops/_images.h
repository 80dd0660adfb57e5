/* A whole convolutional recurrence over images, forward and backward, at stride and dilation 1.
 *
 * A step goes over the image in bands of rows: both products of a band, then its gates, while all of it is in the
 * second-level cache; the gates' input, the largest tensor of all, never sees memory. Frames and states are read from
 * copies with zeros around them, so that no product asks where the border is.
 *
 * Series are time first, (T, N, H, W, ·). Kernels are (tall, wide, channels, G·F).
 */

typedef struct {
    const float *data;    /* (N, height, width, channels) */
    long height, width, channels;
    long top, left;       /* where the products of pixel (0, 0) begin */
} Padded;

typedef struct {
    float *data;                 /* (N, height, width, columns), */
    long clip;                   /* clips so many floats apart */
    long height, width, columns;
} Plane;

typedef struct {
    int kind, activation, recurrent, threads, starts, c_moves;
    long steps, clips, depth, hidden;
    long in_height, in_width, height, width; /* of frames; of states */
    long tall, wide, top, left;              /* of the kernels; zeros before a frame */
    const float *x;                          /* of any layout: strides of n, t, y, x, channel */
    long x_strides[5];
    const float *kernel, *bias, *recurrent_kernel, *lift, *h_first, *c_first;
    float *h, *c, *kept;
    /* backward; kernels are then flipped in space and turned, (tall, wide, G·F, ·); dkernels are as above, zeros at
     * first; dh and dc are those of the last state, changed in place into those of the first. Where clips end before
     * the last frame, dh and dc are zeros at first, and those of the ends are added when a clip's last frame is met */
    const int64_t *ends;
    const float *dh_end, *dc_end;
    const float *dout; /* channels last; strides of n, t, y, x; NULL for zeros */
    long dout_strides[4];
    float *dh, *dc, *dx, *dkernel, *drecurrent, *dbias, *dbias_h; /* dx (N, T, in_height, in_width, depth) or NULL */
    /* worked out here */
    long gates, pixels, bands;
    const Table *table;
    Products products;
} Images;

/* Floats of the gates' input in a band; rows of b, and pixels of a weight gradient's sum, that stay in the first-level
 * cache as a panel. */
enum { BAND = 1 << 16, DEPTH = 256, CHUNK = 256 };

/* Zeros, on large pages where there are many: NULL where there is no memory. */
static float *zeros(size_t floats) {
    void *made = NULL;
    size_t bytes = sizeof(float) * (floats + 64); /* products read a panel's width */
#ifdef __linux__
    if (posix_memalign(&made, bytes >= (1 << 22) ? 1 << 21 : 64, bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= (1 << 22)) madvise(made, bytes, MADV_HUGEPAGE);
#endif
#else
    made = malloc(bytes);
#endif
    if (made) memset(made, 0, bytes);
    return made;
}

static Padded padded(const Images *s, float *data, long channels, long top, long left) {
    return (Padded){data, s->height + s->tall - 1, s->width + s->wide - 1, channels, top, left};
}

static size_t padded_size(const Images *s, const Padded *p) {
    return (size_t)(s->clips * p->height * p->width * p->channels);
}

/* Frame t into the middle of its padded copy, rows `from` to `to` of all clips. */
static void pad_frame(const Images *s, const Padded *p, long t, long from, long to) {
    const long *stride = s->x_strides;
    for (long row = from; row < to; row++) {
        long n = row / s->in_height, y = row % s->in_height;
        const float *x = s->x + n * stride[0] + t * stride[1] + y * stride[2];
        float *out = (float *)p->data + ((n * p->height + y + s->top) * p->width + s->left) * s->depth;
        if (stride[4] == 1 && stride[3] == s->depth) memcpy(out, x, sizeof(float) * (size_t)(s->in_width * s->depth));
        else
            for (long i = 0; i < s->in_width; i++)
                for (long k = 0; k < s->depth; k++) out[i * s->depth + k] = x[i * stride[3] + k * stride[4]];
    }
}

/* Pixels `from` to `to`, in one row, of a state into the middle of its padded copy. */
static void pad_state(const Images *s, const Padded *p, const float *h, long from, long to) {
    long row = from / s->width, n = row / s->height, y = row % s->height, i = from % s->width;
    long top = (s->tall - 1) / 2, left = (s->wide - 1) / 2;
    memcpy((float *)p->data + ((n * p->height + y + top) * p->width + i + left) * s->hidden, h + from * s->hidden,
           sizeof(float) * (size_t)((to - from) * s->hidden));
}

/* The part of one row that begins at pixel `from` and ends before `to`. */
INLINE long row_end(long width, long from, long to) {
    long end = (from / width + 1) * width;
    return end < to ? end : to;
}

/* Pixels `from` to `to` of z, columns from j on, += the part of p ∗ b that `sum` names with its a at the first pixel */
static void add_panel(const Padded *p, const Plane *z, long from, long to, long j, const Products *products, Sum sum) {
    const float *a = sum.a;
    for (long pixel = from, end; pixel < to; pixel = end) {
        end = row_end(z->width, pixel, to);
        long row = pixel / z->width, i = pixel % z->width, n = row / z->height, y = row % z->height;
        sum.a = a + ((n * p->height + y) * p->width + i) * p->channels;
        products->add(z->data + n * z->clip + (y * z->width + i) * z->columns + j, z->columns, end - pixel, &sum);
    }
}

/* Pixels `from` to `to` of z += p ∗ b, so much of a panel of b at a time as the first-level cache holds */
static void convolve_band(const Images *s, const Padded *p, const float *b, const Plane *z, long from, long to) {
    long panel = s->products.panel, depth = s->wide * p->channels, segment = p->width * p->channels;
    const float *first = p->data + (p->top * p->width + p->left) * p->channels;
    for (long j = 0; j < z->columns; j += panel) {
        long left = z->columns - j < panel ? z->columns - j : panel, wide = panel_width(left, panel);
        const float *of_panel = b + s->tall * depth * j;
        if (s->tall * depth <= DEPTH) {
            Sum sum = {first, p->channels, segment, of_panel, wide, depth * wide, s->tall, depth, left};
            add_panel(p, z, from, to, j, &s->products, sum);
            continue;
        }
        long parts = (depth + DEPTH - 1) / DEPTH;
        for (long k = 0; k < s->tall * parts; k++) {
            long row = k / parts, begin = depth * (k % parts) / parts, end = depth * (k % parts + 1) / parts;
            Sum sum = {first + row * segment + begin, p->channels, 0, of_panel + (row * depth + begin) * wide, wide, 0,
                       1, end - begin, left};
            add_panel(p, z, from, to, j, &s->products, sum);
        }
    }
}

static void forward_band(const Images *s, const float *w, const float *u, const Padded *x, const Padded *h,
                         const Padded *h_next, float *z, long t, long from, long to) {
    long width = s->gates * s->hidden, state = s->pixels * s->hidden, image = s->height * s->width, n = to - from;
    int gru = s->gates == 3;
    float *zh = z + n * width;
    const float *h_before = t ? s->h + (t - 1) * state : s->h_first;
    const float *c_before = t ? s->c + (s->c_moves ? (t - 1) * state : 0) : s->c_first;
    fill(z, s->bias, n, width);
    if (gru) fill(zh, s->lift, n, width);
    Plane of_x = {z - from * width, image * width, s->height, s->width, width}, of_h = of_x;
    if (gru) of_h.data = zh - from * width;
    convolve_band(s, x, w, &of_x, from, to);
    if (t || s->starts) convolve_band(s, h, u, &of_h, from, to);
    long block = BLOCK / s->hidden;
    Step step = {.rows = s->pixels, .hidden = s->hidden, .activation = s->activation, .recurrent = s->recurrent,
                 .table = s->table};
    for (long p = from; p < to; p += block) {
        step.zx = z + (p - from) * width;
        step.zh = gru ? zh + (p - from) * width : NULL;
        step.h_before = h_before + p * s->hidden;
        step.c_before = c_before + p * s->hidden;
        step.h = s->h + t * state + p * s->hidden;
        step.c = s->c + (s->c_moves ? t * state : 0) + p * s->hidden;
        step.kept = s->kept ? s->kept + t * 4 * state + p * s->hidden : NULL;
        FORWARD[s->kind](&step, 0, p + block < to ? block : to - p);
    }
    for (long p = from, end; p < to; p = end) {
        end = row_end(s->width, p, to);
        pad_state(s, h_next, s->h + t * state, p, end);
    }
}

/* Bands are some whole rows, or equal parts of one; a thread that is done takes the next. */
static void band(const Images *s, long number, long *from, long *to) {
    long rows = s->clips * s->height, each = BAND / (s->gates * s->hidden * s->width);
    if (each < 1) {
        long parts = s->bands / rows, row = number / parts, part = number % parts;
        *from = row * s->width + s->width * part / parts;
        *to = row * s->width + s->width * (part + 1) / parts;
    } else {
        *from = rows * number / s->bands * s->width;
        *to = rows * (number + 1) / s->bands * s->width;
    }
}

static long count_bands(const Images *s) {
    long rows = s->clips * s->height, row = s->gates * s->hidden * s->width, each = BAND / row;
    if (each < 1) return rows * ((row + BAND - 1) / BAND);
    long bands = (rows + each - 1) / each, least = 4 * s->threads < rows ? 4 * s->threads : rows;
    return bands > least ? bands : least;
}

static int forward_images(Images *s) {
    long width = s->gates * s->hidden, longest = BAND / width + s->width, in_rows = s->clips * s->in_height;
    long panel = s->products.panel;
    Padded x[2], h[2];
    for (int k = 0; k < 2; k++) {
        x[k] = padded(s, NULL, s->depth, 0, 0);
        h[k] = padded(s, NULL, s->hidden, 0, 0);
    }
    s->bands = count_bands(s);
    size_t of_x = padded_size(s, x), of_h = padded_size(s, h), each = (size_t)(2 * longest * width);
    size_t of_w = packed_size(s->tall * s->wide * s->depth, width, panel);
    size_t of_u = packed_size(s->tall * s->wide * s->hidden, width, panel);
    float *memory = zeros(2 * of_x + 2 * of_h + of_w + of_u + each * (size_t)s->threads);
    if (!memory) return 0;
    float *w = memory, *u = w + of_w, *scratch = u + of_u;
    for (int k = 0; k < 2; k++) {
        x[k].data = scratch + each * (size_t)s->threads + (size_t)k * of_x;
        h[k].data = scratch + each * (size_t)s->threads + 2 * of_x + (size_t)k * of_h;
    }
    pack(w, s->kernel, s->tall * s->wide * s->depth, width, panel, 0);
    pack(u, s->recurrent_kernel, s->tall * s->wide * s->hidden, width, panel, 0);
    pad_frame(s, &x[0], 0, 0, in_rows);
    for (long p = 0; s->starts && p < s->pixels; p += s->width) pad_state(s, &h[1], s->h_first, p, p + s->width);
    for (long t = 0; t < s->steps; t++) {
        const Padded *x_now = &x[t & 1], *x_next = &x[(t + 1) & 1], *h_now = &h[(t + 1) & 1], *h_next = &h[t & 1];
        long next = 0;
#pragma omp parallel for num_threads(s->threads) if (s->threads > 1) schedule(static, 1)
        for (int thread = 0; thread < s->threads; thread++) {
            unsigned before = no_denormals();
            long number, from, to;
            while ((number = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < s->bands) {
                band(s, number, &from, &to);
                forward_band(s, w, u, x_now, h_now, h_next, scratch + each * (size_t)thread, t, from, to);
                from = in_rows * number / s->bands;
                to = in_rows * (number + 1) / s->bands;
                if (t + 1 < s->steps) pad_frame(s, x_next, t + 1, from, to);
            }
            denormals_back(before);
        }
    }
    free(memory);
    return 1;
}

/* Gates of one thread's rows backward, into the padded gradients of the gates. */
static void backward_gates(const Images *s, const Padded *dzx, const Padded *dzh, const Padded *x, const Padded *h,
                           float *sums, long t, long first, long last) {
    long width = s->gates * s->hidden, state = s->pixels * s->hidden, block = BLOCK / s->hidden;
    const float *h_before = t ? s->h + (t - 1) * state : s->h_first;
    const float *c_before = t ? s->c + (t - 1) * state : s->c_first;
    Step step = {.rows = s->pixels, .hidden = s->hidden, .activation = s->activation, .recurrent = s->recurrent,
                 .table = s->table, .dbias = sums, .dbias_h = sums + width};
    for (long row = first; row < last; row++) {
        long n = row / s->height, y = row % s->height;
        long place = ((n * dzx->height + y + s->tall - 1) * dzx->width + s->wide - 1) * width;
        for (long i = 0; i < s->width; i += block) {
            long count = i + block < s->width ? block : s->width - i, p = row * s->width + i;
            float *dh = s->dh + p * s->hidden;
            if (s->ends && s->ends[n] == t + 1)
                for (long k = 0; k < count * s->hidden; k++) {
                    if (s->dh_end) dh[k] += s->dh_end[p * s->hidden + k];
                    if (s->dc_end) s->dc[p * s->hidden + k] += s->dc_end[p * s->hidden + k];
                }
            if (s->dout && (!s->ends || t < s->ends[n]))
                for (long k = 0; k < count; k++) {
                    const long *stride = s->dout_strides;
                    const float *dout = s->dout + n * stride[0] + t * stride[1] + y * stride[2] + (i + k) * stride[3];
                    for (long j = 0; j < s->hidden; j++) dh[k * s->hidden + j] += dout[j];
                }
            step.dh = dh;
            step.dc = s->dc ? s->dc + p * s->hidden : NULL;
            step.kept_before = s->kept + t * 4 * state + p * s->hidden;
            step.h_before = h_before + p * s->hidden;
            step.c_before = c_before + p * s->hidden;
            step.h = s->h + t * state + p * s->hidden;
            step.c_after = s->c + t * state + p * s->hidden;
            step.dzx = (float *)dzx->data + place + i * width;
            step.dzh = (float *)dzh->data + place + i * width;
            BACKWARD[s->kind](&step, 0, count);
        }
        if (t || s->starts) pad_state(s, h, h_before, row * s->width, (row + 1) * s->width);
    }
    long in_rows = s->clips * s->in_height, rows = s->clips * s->height;
    pad_frame(s, x, t, in_rows * first / rows, in_rows * last / rows);
}

/* dw (tall, wide, channels, G·F) += the sum over rows `first` to `last` of what p had there times dz */
static void weight_gradient(const Images *s, const Padded *p, const Padded *dz, float *dw, long first, long last) {
    long panel = s->products.panel, width = s->gates * s->hidden, rows = s->wide * p->channels;
    long tallest = s->width < CHUNK ? CHUNK / s->width : 1;
    float b[CHUNK * WIDEST]; /* a panel of dz, side by side: its rows may lie whole pages apart */
    for (long row = first; row < last;) {
        long n = row / s->height, y = row % s->height, count = tallest;
        if (count > s->height - y) count = s->height - y;
        if (count > last - row) count = last - row;
        for (long i = 0; i < s->width; i += CHUNK) {
            long pixels = i + CHUNK < s->width ? CHUNK : s->width - i;
            for (long j = 0; j < width; j += panel) {
                long left = width - j < panel ? width - j : panel, wide = panel_width(left, panel);
                for (long k = 0; k < count; k++)
                    for (long m = 0; m < pixels; m++) {
                        long place = (n * dz->height + y + k + s->tall - 1) * dz->width + i + m + s->wide - 1;
                        memcpy(b + (k * pixels + m) * wide, dz->data + place * width + j, sizeof(float) * (size_t)left);
                    }
                for (long k = 0; k < s->tall; k++) {
                    Sum sum = {p->data + ((n * p->height + y + k) * p->width + i) * p->channels, p->channels,
                               p->width * p->channels, b, wide, pixels * wide, count, pixels, left};
                    s->products.add_turned(dw + k * rows * width + j, width, rows, &sum);
                }
            }
        }
        row += count;
    }
}

static int backward_images(Images *s) {
    long width = s->gates * s->hidden, panel = s->products.panel, rows = s->clips * s->height;
    int gru = s->gates == 3;
    Padded x = padded(s, NULL, s->depth, 0, 0), h = padded(s, NULL, s->hidden, 0, 0);
    Padded dzx = {NULL, s->height + 2 * (s->tall - 1), s->width + 2 * (s->wide - 1), width, s->top, s->left};
    Padded dzh = dzx;
    dzh.top = (s->tall - 1) / 2;
    dzh.left = (s->wide - 1) / 2;
    size_t of_x = padded_size(s, &x), of_h = padded_size(s, &h), of_z = padded_size(s, &dzx);
    size_t of_u = packed_size(s->tall * s->wide * width, s->hidden, panel);
    size_t of_w = s->dx ? packed_size(s->tall * s->wide * width, s->depth, panel) : 0;
    size_t of_dw = (size_t)(s->tall * s->wide * s->depth * width);
    size_t of_du = (size_t)(s->tall * s->wide * s->hidden * width);
    size_t each = 2 * (size_t)width + of_dw + of_du;
    float *memory = zeros(of_x + of_h + of_z * (gru ? 2 : 1) + of_u + of_w + each * (size_t)s->threads);
    if (!memory) return 0;
    float *u = memory, *w = u + of_u, *scratch = w + of_w;
    x.data = scratch + each * (size_t)s->threads;
    h.data = x.data + of_x;
    dzx.data = h.data + of_h;
    dzh.data = dzx.data + (gru ? of_z : 0);
    pack(u, s->recurrent_kernel, s->tall * s->wide * width, s->hidden, panel, 0);
    if (s->dx) pack(w, s->kernel, s->tall * s->wide * width, s->depth, panel, 0);
    Plane dh = {s->dh, s->height * s->width * s->hidden, s->height, s->width, s->hidden};
    long in_image = s->in_height * s->in_width * s->depth, in_rows = s->clips * s->in_height;
    Plane dx = {NULL, s->steps * in_image, s->in_height, s->in_width, s->depth};
    for (long t = s->steps - 1; t >= 0; t--) {
        if (s->dx) dx.data = s->dx + t * in_image;
        int from_state = t || s->starts;
#pragma omp parallel for num_threads(s->threads) if (s->threads > 1) schedule(static, 1)
        for (int thread = 0; thread < s->threads; thread++) {
            unsigned before = no_denormals();
            backward_gates(s, &dzx, &dzh, &x, &h, scratch + each * (size_t)thread, t, rows * thread / s->threads,
                           rows * (thread + 1) / s->threads);
            denormals_back(before);
        }
#pragma omp parallel for num_threads(s->threads) if (s->threads > 1) schedule(static, 1)
        for (int thread = 0; thread < s->threads; thread++) {
            unsigned before = no_denormals();
            float *mine = scratch + each * (size_t)thread + 2 * width;
            long first = rows * thread / s->threads, last = rows * (thread + 1) / s->threads;
            for (long row = first, few; row < last; row += few) {
                few = BAND / (width * s->width) + 1;
                if (few > last - row) few = last - row;
                long from = row * s->width, to = (row + few) * s->width;
                weight_gradient(s, &x, &dzx, mine, row, row + few);
                if (!gru) fill(s->dh + from * s->hidden, NULL, to - from, s->hidden);
                if (!from_state) continue;
                weight_gradient(s, &h, &dzh, mine + of_dw, row, row + few);
                convolve_band(s, &dzh, u, &dh, from, to);
            }
            first = in_rows * thread / s->threads;
            last = in_rows * (thread + 1) / s->threads;
            if (s->dx) convolve_band(s, &dzx, w, &dx, first * s->in_width, last * s->in_width);
            denormals_back(before);
        }
    }
    for (int thread = 0; thread < s->threads; thread++) {
        const float *mine = scratch + each * (size_t)thread;
        for (long j = 0; j < width; j++) s->dbias[j] += mine[j];
        for (long j = 0; s->dbias_h && j < width; j++) s->dbias_h[j] += mine[width + j];
        for (size_t j = 0; j < of_dw; j++) s->dkernel[j] += mine[2 * (size_t)width + j];
        for (size_t j = 0; j < of_du; j++) s->drecurrent[j] += mine[2 * (size_t)width + of_dw + j];
    }
    free(memory);
    return 1;
}
