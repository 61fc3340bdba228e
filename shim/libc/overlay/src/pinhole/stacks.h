/* Memory of threads: see stacks.c. */
#ifndef PINHOLE_STACKS_H
#define PINHOLE_STACKS_H

#include <features.h>
#include <stddef.h>

hidden void *__ph_stack_map(size_t size, size_t guard);
hidden void __ph_stack_unmap(void *map, size_t size, size_t guard);

#endif
