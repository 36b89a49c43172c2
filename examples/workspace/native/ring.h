/* A ring of fixed size between one writer and one reader. */
#ifndef RING_H
#define RING_H

#include <stddef.h>

#define RING_SIZE 256

typedef struct ring {
    void *slots[RING_SIZE];
    size_t head, tail;
} ring_t;

/* Returns 0, or -1 when the ring is full. */
int ring_push(ring_t *ring, void *item);
void *ring_pop(ring_t *ring);

#endif
