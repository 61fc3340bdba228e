// One conformance program: checks run in order, each failure prints where and what, the
// exit status is 1 if any failed. The same source runs natively, which proves the
// expectations, and then in the sandbox.
#ifndef CHECK_H
#define CHECK_H
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_failed, check_count;

#define CHECK(cond) do { \
	check_count++; \
	if (!(cond)) { \
		check_failed++; \
		printf("%s:%d: %s: failed (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
	} \
} while (0)

// FAILS: the call returns -1 with this errno.
#define FAILS(err, call) do { \
	check_count++; \
	errno = 0; \
	long check_r = (long)(call); \
	if (check_r != -1 || errno != (err)) { \
		check_failed++; \
		printf("%s:%d: %s: returned %ld errno %d, want -1 errno %d\n", __FILE__, __LINE__, #call, check_r, errno, (err)); \
	} \
} while (0)

static inline int check_done(void)
{
	printf("%d checks, %d failed\n", check_count, check_failed);
	return check_failed != 0;
}
#endif
