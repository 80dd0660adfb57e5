/* The products of recurrences, of matrices and of convolutions: tiles of the result are summed in registers.
 *
 * Features lie last in memory, so that what one row of a kernel sees lies side by side: a convolution is a sum of matrix
 * products, one for each row of the kernel, whose left sides are the rows of the image itself, read in steps of one
 * pixel. Nothing is gathered. Those rows are the `segments` below; a matrix has one.
 *
 * A tile is six rows by two registers, or twelve by one where no more columns are left: so many sums keep both
 * multipliers of a core busy. The right side is packed once into panels as wide as a tile.
 */
#include <stdint.h>
#include <string.h>

typedef float Wide __attribute__((vector_size(64), aligned(4)));
typedef float Half __attribute__((vector_size(32), aligned(4)));

/* The sum over segments s and k < depth of a_s[r·stride_a + k] · b_s[k·stride_b + j], or, turned, of
 * a_s[k·stride_a + r] · b_s[k·stride_b + j], for columns j of one panel. Segments of a and b are so far apart. Reads a
 * whole panel's width of b, also behind the last column. */
typedef struct {
    const float *a;
    long stride_a, segment_a;
    const float *b;
    long stride_b, segment_b;
    long segments, depth, columns;
} Sum;

/* z (rows, columns), its rows `stride_z` apart, += a sum */
typedef void (*Product)(float *z, long stride_z, long rows, const Sum *sum);

typedef struct {
    Product add, add_turned;
    long panel; /* columns of a whole one */
} Products;

enum { WIDEST = 2 * sizeof(Wide) / 4 }; /* columns of the widest panel */

#define UNROLL _Pragma("GCC unroll 12")

#if defined(__x86_64__) && defined(__GNUC__)
#define VECTOR Wide
#define NAMED(what) what##_v4
#define TARGET __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#include "_tiles.h"
#undef VECTOR
#undef NAMED
#undef TARGET
#define VECTOR Half
#define NAMED(what) what##_v3
#define TARGET __attribute__((target("arch=x86-64-v3")))
#include "_tiles.h"
#undef VECTOR
#undef NAMED
#undef TARGET
#endif
#define VECTOR Half
#define NAMED(what) what##_any
#define TARGET
#include "_tiles.h"

/* Those for this processor. */
static Products choose_products(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return (Products){add_v4, add_turned_v4, 2 * sizeof(Wide) / 4};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (Products){add_v3, add_turned_v3, 2 * sizeof(Half) / 4};
#endif
    return (Products){add_any, add_turned_any, 2 * sizeof(Half) / 4};
}

/* Columns of the panel that begins where so many are left. */
INLINE long panel_width(long left, long panel) { return left > panel / 2 ? panel : panel / 2; }

/* Floats of a packed matrix; the panel of columns from j on begins at depth·j. */
static size_t packed_size(long depth, long columns, long panel) {
    return (size_t)((columns + panel - 1) / panel * panel * depth);
}

/* b (depth, columns), or its transpose in memory, into panels, zeros behind the last column */
static void pack(float *out, const float *b, long depth, long columns, long panel, int transposed) {
    for (long from = 0; from < columns; from += panel) {
        long width = panel_width(columns - from, panel);
        for (long k = 0; k < depth; k++)
            for (long j = from; j < from + width; j++)
                *out++ = j >= columns ? 0.0f : transposed ? b[j * depth + k] : b[k * columns + j];
    }
}

/* z (rows, columns) += a·b for a packed b (segments·depth, columns); a as in `Sum` */
INLINE void add_packed(const Products *products, float *z, long rows, long columns, const float *a, long stride,
                       long segment, long segments, long depth, const float *b) {
    for (long j = 0; j < columns; j += products->panel) {
        long left = columns - j < products->panel ? columns - j : products->panel;
        long width = panel_width(left, products->panel);
        Sum sum = {a, stride, segment, b + segments * depth * j, width, depth * width, segments, depth, left};
        products->add(z + j, columns, rows, &sum);
    }
}
