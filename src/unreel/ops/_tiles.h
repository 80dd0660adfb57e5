/* Tiles for one kind of register: included with VECTOR (its type), NAMED(what) and TARGET (the processors) defined.
 *
 * `rows`, `vectors` (of a panel: one or two) and `turned` are constants wherever a tile is inlined. */
INLINE void NAMED(tile)(const int rows, const int vectors, const int turned, float *z, long stride_z, const float *a,
                        const Sum *sum) {
    enum { WIDTH = sizeof(VECTOR) / 4 };
    VECTOR total[12][2];
    UNROLL for (int r = 0; r < rows; r++) total[r][0] = total[r][1] = (VECTOR){0};
    for (long s = 0; s < sum->segments; s++) {
        const float *x = a + s * sum->segment_a, *y = sum->b + s * sum->segment_b;
        const long step = turned ? sum->stride_a : 1, apart = turned ? 1 : sum->stride_a;
        for (long k = 0; k < sum->depth; k++, x += step, y += sum->stride_b) {
            VECTOR first = *(const VECTOR *)y, second = first;
            if (vectors == 2) second = *(const VECTOR *)(y + WIDTH);
            UNROLL for (int r = 0; r < rows; r++) {
                total[r][0] += x[r * apart] * first;
                if (vectors == 2) total[r][1] += x[r * apart] * second;
            }
        }
    }
    /* summed apart and then added: the error of a sum over many tiles grows with their number, not with that of terms */
    if (sum->columns == vectors * WIDTH) {
        UNROLL for (int r = 0; r < rows; r++) {
            *(VECTOR *)(z + r * stride_z) += total[r][0];
            if (vectors == 2) *(VECTOR *)(z + r * stride_z + WIDTH) += total[r][1];
        }
        return;
    }
    float edge[12][2 * WIDTH];
    UNROLL for (int r = 0; r < rows; r++) {
        memcpy(edge[r], &total[r][0], sizeof(VECTOR));
        if (vectors == 2) memcpy(edge[r] + WIDTH, &total[r][1], sizeof(VECTOR));
    }
    for (int r = 0; r < rows; r++)
        for (long j = 0; j < sum->columns; j++) z[r * stride_z + j] += edge[r][j];
}

INLINE void NAMED(panel)(const int vectors, const int turned, float *z, long stride_z, long rows, const Sum *sum) {
    const float *a = sum->a;
    const long apart = turned ? 1 : sum->stride_a;
    for (; vectors == 1 && rows >= 12; rows -= 12, z += 12 * stride_z, a += 12 * apart)
        NAMED(tile)(12, vectors, turned, z, stride_z, a, sum);
    for (; rows >= 6; rows -= 6, z += 6 * stride_z, a += 6 * apart)
        NAMED(tile)(6, vectors, turned, z, stride_z, a, sum);
    switch (rows) {
    case 5: NAMED(tile)(5, vectors, turned, z, stride_z, a, sum); break;
    case 4: NAMED(tile)(4, vectors, turned, z, stride_z, a, sum); break;
    case 3: NAMED(tile)(3, vectors, turned, z, stride_z, a, sum); break;
    case 2: NAMED(tile)(2, vectors, turned, z, stride_z, a, sum); break;
    case 1: NAMED(tile)(1, vectors, turned, z, stride_z, a, sum); break;
    }
}

TARGET static void NAMED(add)(float *z, long stride_z, long rows, const Sum *given) {
    const Sum sum = *given; /* of which the compiler knows that nobody writes to it */
    if (sum.columns > (long)sizeof(VECTOR) / 4) NAMED(panel)(2, 0, z, stride_z, rows, &sum);
    else NAMED(panel)(1, 0, z, stride_z, rows, &sum);
}

TARGET static void NAMED(add_turned)(float *z, long stride_z, long rows, const Sum *given) {
    const Sum sum = *given;
    if (sum.columns > (long)sizeof(VECTOR) / 4) NAMED(panel)(2, 1, z, stride_z, rows, &sum);
    else NAMED(panel)(1, 1, z, stride_z, rows, &sum);
}
