/*
 * Upstream's, with memory from a cache: see pinhole/stacks.c. It asks for a mapping that cannot be
 * used, and makes all but its guard usable; here it gets both in one step.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include "../../pinhole/stacks.h"

#define __mmap(addr, size, prot, flags, fd, off) __ph_stack_map(size, guard)
#define __mprotect(addr, size, prot) 0
#include "../pthread_create.c"
