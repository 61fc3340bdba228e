#include <string.h>
#include "copy.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n) { return copy(to, from, n); }
