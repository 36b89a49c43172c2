/*
 * A ring of fixed size between one writer and one reader: push and pop in constant time, no allocation.
 */
#include <string.h>
#include "ring.h"

enum ring_state { RING_EMPTY, RING_PARTIAL, RING_FULL };

static size_t used(const ring_t *ring)
{
    return ring->head - ring->tail;
}

/* Tells how full the ring is. */
enum ring_state ring_state(const ring_t *ring)
{
    size_t count = used(ring);
    if (count == 0)
        return RING_EMPTY;
    return count == RING_SIZE ? RING_FULL : RING_PARTIAL;
}

int ring_push(ring_t *ring, void *item)
{
    if (used(ring) == RING_SIZE)
        return -1;
    ring->slots[ring->head++ % RING_SIZE] = item;
    return 0;
}

void *ring_pop(ring_t *ring)
{
    if (used(ring) == 0)
        return NULL;
    return ring->slots[ring->tail++ % RING_SIZE];
}

void ring_name(char *target, const char *name)
{
    strcpy(target, name); /* TODO: take the size of the target */
}
