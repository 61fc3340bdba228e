#ifndef PINHOLE_HEAP_H
#define PINHOLE_HEAP_H

#include <stddef.h>
#include <sys/types.h>

/* mmap and munmap of the allocator; see heap.c. */
__attribute__((__visibility__("hidden"))) void *__ph_heap_map(void *addr, size_t size, int prot, int flags, int fd, off_t off);
__attribute__((__visibility__("hidden"))) int __ph_heap_unmap(void *map, size_t size);

#endif
