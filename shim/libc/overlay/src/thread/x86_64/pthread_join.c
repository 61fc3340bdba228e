/* Upstream's, with memory that goes to a cache: see pinhole/stacks.c. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include "../../pinhole/stacks.h"

#define __munmap(addr, size) __ph_stack_unmap(addr, size, t->guard_size)
#include "../pthread_join.c"
