#include <string.h>
#include "copy.h"

void *memmove(void *to, const void *from, size_t n) { return copy(to, from, n); }
