// A micro-benchmark in one C source, run natively and in Pinhole: each case is timed in
// batches and the median batch is reported, so that a noisy neighbour moves little.
//
//	PROGRAM              lists the cases
//	PROGRAM CASE...      prints "CASE NS-PER-OPERATION" for each
#ifndef BENCH_H
#define BENCH_H
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 21 // unless a case says otherwise; odd

struct bench {
	const char *name;
	long ops;                // per batch
	void (*run)(long ops);
	void (*before)(void);    // once, untimed
	void (*after)(void);     // once, untimed
	int batches;             // 0 for BATCHES
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline double bench_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int bench_cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void bench_one(const struct bench *b)
{
	double t[BATCHES];
	int batches = b->batches ? b->batches : BATCHES;
	if (b->before)
		b->before();
	b->run(b->ops / 10 + 1);
	for (int i = 0; i < batches; i++) {
		double t0 = bench_now();
		b->run(b->ops);
		t[i] = (bench_now() - t0) / b->ops;
	}
	if (b->after)
		b->after();
	qsort(t, batches, sizeof t[0], bench_cmp);
	printf("%s %.1f\n", b->name, t[batches / 2]);
	fflush(stdout);
}

static int bench_main(const struct bench *all, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct bench *b = all;
		while (b->name && strcmp(b->name, argv[i]))
			b++;
		if (!b->name) {
			fprintf(stderr, "%s: no such case\n", argv[i]);
			return 2;
		}
		bench_one(b);
	}
	if (argc < 2)
		for (const struct bench *b = all; b->name; b++)
			puts(b->name);
	return 0;
}
#endif
