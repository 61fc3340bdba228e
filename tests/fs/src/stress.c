/* Random operations on files, mappings and names, each checked against a model in memory, by several
 * threads. What every operation returned is summed, and the sums are printed: two systems that agree
 * print the same.
 *
 *	stress DIR SEED OPERATIONS THREADS [FIRST LAST]
 *
 * Operations FIRST to LAST of each thread are printed in words, on standard error.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Older C libraries lack these. */
#ifndef FALLOC_FL_ZERO_RANGE
#define FALLOC_FL_ZERO_RANGE 0x10
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

enum { FILES = 3, SIZE = 1 << 19, PAGE = 4096, MAPS = 3, NAMES = 14, EVERY = 500 };

struct file {
	int fd, other; /* two ways to it */
	long size;
	unsigned char *model; /* SIZE bytes; zero behind size */
	int linked;
	struct map {
		unsigned char *at; /* shared: stores are seen by all; NULL: none */
		long off, n;
	} maps[MAPS];
};

struct worker {
	int id;
	uint64_t rnd, sum;
	long ops, step;
	char dir[512];
	struct file f[FILES];
	unsigned char *buf;
	pthread_t thread;
};

static const char *top;
static long first = -1, last = -1;
static __thread sigjmp_buf onfault;
static __thread volatile sig_atomic_t expecting;

static uint64_t next(struct worker *w)
{
	w->rnd ^= w->rnd >> 12;
	w->rnd ^= w->rnd << 25;
	w->rnd ^= w->rnd >> 27;
	return w->rnd * 2685821657736338717u;
}

static long below(struct worker *w, long n) { return next(w) % n; }

static void die(struct worker *w, const char *format, ...)
{
	va_list v;
	va_start(v, format);
	flockfile(stdout);
	printf("thread %d step %ld: ", w->id, w->step);
	vprintf(format, v);
	printf(" (errno %d)\n", errno);
	fflush(stdout);
	_exit(1);
}

/* note adds a result to the sum. */
static void note(struct worker *w, const char *what, long a, long b, long result)
{
	long v[4] = {a, b, result, result < 0 ? errno : 0};
	if (w->step >= first && w->step <= last)
		fprintf(stderr, "%d.%ld %s %ld %ld = %ld (%ld)\n", w->id, w->step, what, a, b, result, v[3]);
	for (int i = 0; i < 4; i++)
		w->sum = (w->sum ^ (uint64_t)v[i]) * 1099511628211u;
	for (; *what; what++)
		w->sum = (w->sum ^ (unsigned char)*what) * 1099511628211u;
}

static void onsignal(int sig)
{
	if (!expecting) {
		signal(sig, SIG_DFL);
		return;
	}
	expecting = 0;
	siglongjmp(onfault, sig);
}

/* touch stores a byte, or reads one, and returns the signal that this gave. */
static int touch(volatile unsigned char *p, int store, unsigned char v, unsigned char *got)
{
	int sig = sigsetjmp(onfault, 1);
	if (sig)
		return sig;
	expecting = 1;
	if (store)
		*p = v;
	else
		*got = *p;
	expecting = 0;
	return 0;
}

static void fill(struct worker *w, unsigned char *p, long n)
{
	uint64_t x = next(w) | 1;
	for (long i = 0; i < n; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		p[i] = x >> 56;
	}
}

static void span(struct worker *w, long *off, long *n)
{
	static const long most[] = {20, 700, 5000, 60000};
	*off = below(w, SIZE - 70000);
	*n = 1 + below(w, most[below(w, 4)]);
	switch (below(w, 5)) {
	case 0:
		*off &= -PAGE;
		break;
	case 1:
		*off &= -1024;
		*n = (*n + 1023) & -1024;
		break;
	case 2:
		*off &= -PAGE;
		*n = (*n + PAGE - 1) & -PAGE;
	}
}

static void grow(struct file *f, long end)
{
	if (end > f->size)
		f->size = end;
}

static void openfile(struct worker *w, struct file *f, int i)
{
	char path[600];
	snprintf(path, sizeof path, "%s/content%d", w->dir, i);
	f->fd = open(path, O_RDWR | O_CREAT, 0644);
	f->other = open(path, O_RDWR | O_APPEND);
	if (f->fd < 0 || f->other < 0)
		die(w, "open %s", path);
	f->linked = 1;
}

/* compare reads a range in one of several ways and compares it with the model. */
static void compare(struct worker *w, struct file *f, long off, long n, const char *when)
{
	long want = off >= f->size ? 0 : f->size - off < n ? f->size - off : n, got;
	switch (below(w, 3)) {
	case 0:
		got = pread(f->fd, w->buf, n, off);
		break;
	case 1: {
		struct iovec v[2] = {{w->buf, n / 3}, {w->buf + n / 3, n - n / 3}};
		got = preadv(f->other, v, 2, off);
		break;
	}
	default:
		lseek(f->fd, off, SEEK_SET);
		got = read(f->fd, w->buf, n);
	}
	if (got != want)
		die(w, "%s: read of %ld at %ld: %ld, want %ld of %ld", when, n, off, got, want, f->size);
	for (long i = 0; i < got; i++)
		if (w->buf[i] != f->model[off + i])
			die(w, "%s: byte %ld of the read of %ld at %ld is %#x, want %#x (size %ld)", when, i, n, off, w->buf[i], f->model[off + i], f->size);
}

static void unmap(struct file *f, int k)
{
	if (f->maps[k].at)
		munmap(f->maps[k].at, f->maps[k].n);
	f->maps[k].at = 0;
}

static void mapped(struct worker *w, struct file *f)
{
	int k = below(w, MAPS);
	struct map *m = &f->maps[k];
	long off, n;
	if (!m->at) {
		span(w, &off, &n);
		off &= -PAGE;
		n = (n + PAGE - 1) & -PAGE;
		m->at = mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, off);
		if (m->at == MAP_FAILED)
			die(w, "mmap of %ld at %ld", n, off);
		m->off = off, m->n = n;
		note(w, "mmap", off, n, 0);
		return;
	}
	long at = below(w, m->n), pos = m->off + at;
	long room = f->size > pos ? f->size - pos : 0;
	n = 1 + below(w, m->n - at);
	switch (below(w, 6)) {
	case 0: /* stores */
	case 1:
		if (n > room)
			n = room;
		if (n == 0)
			break;
		fill(w, w->buf, n);
		memcpy(m->at + at, w->buf, n);
		memcpy(f->model + pos, w->buf, n);
		note(w, "store", pos, n, 0);
		break;
	case 2:
		if (n > room)
			n = room;
		if (memcmp(m->at + at, f->model + pos, n)) {
			long i = 0;
			while (m->at[at + i] == f->model[pos + i])
				i++;
			die(w, "mapping: byte %ld of %ld at %ld is %#x, want %#x (size %ld)", i, n, pos, m->at[at + i], f->model[pos + i], f->size);
		}
		note(w, "load", pos, n, 0);
		break;
	case 3: { /* anywhere: behind the last page of the file it must be SIGBUS */
		unsigned char got = 0;
		int sig = touch(m->at + at, 0, 0, &got), want = pos >= ((f->size + PAGE - 1) & -PAGE) ? SIGBUS : 0;
		if (sig != want)
			die(w, "load at %ld of a file of %ld gives signal %d, want %d", pos, f->size, sig, want);
		if (!sig && got != (pos < f->size ? f->model[pos] : 0))
			die(w, "load at %ld of a file of %ld is %#x", pos, f->size, got);
		note(w, "touch", pos, sig, 0);
		break;
	}
	case 4:
		note(w, "msync", m->off, m->n, msync(m->at, m->n, below(w, 2) ? MS_SYNC : MS_ASYNC));
		break;
	case 5:
		unmap(f, k);
		note(w, "munmap", pos, n, 0);
	}
}

/* private makes a private mapping, changes it, and checks that nobody sees it. */
static void private(struct worker *w, struct file *f)
{
	long off, n;
	span(w, &off, &n);
	off &= -PAGE;
	if (off + n > f->size)
		n = f->size - off;
	if (n <= 0)
		return;
	unsigned char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE, f->fd, off);
	if (p == MAP_FAILED)
		die(w, "private mmap of %ld at %ld", n, off);
	if (memcmp(p, f->model + off, n)) {
		long i = 0;
		while (p[i] == f->model[off + i])
			i++;
		die(w, "private mapping: byte %ld of %ld at %ld is %#x, want %#x", i, n, off, p[i], f->model[off + i]);
	}
	memset(p + n / 2, 0xa5, (n + 3) / 4);
	compare(w, f, off, n, "after a store to a private mapping");
	munmap(p, n);
	note(w, "private", off, n, 0);
}

static void content(struct worker *w)
{
	int i = below(w, FILES);
	struct file *f = &w->f[i];
	long off, n, r;
	struct stat st;
	span(w, &off, &n);
	switch (below(w, 24)) {
	case 0:
	case 1:
	case 2:
	case 3:
		fill(w, w->buf, n);
		r = pwrite(f->fd, w->buf, n, off);
		if (r != n)
			die(w, "pwrite of %ld at %ld: %ld", n, off, r);
		memcpy(f->model + off, w->buf, n);
		grow(f, off + n);
		note(w, "pwrite", off, n, r);
		break;
	case 4:
		n = 1 + n / 8;
		if (f->size + n > SIZE)
			break;
		fill(w, w->buf, n);
		r = write(f->other, w->buf, n);
		if (r != n)
			die(w, "append of %ld: %ld", n, r);
		memcpy(f->model + f->size, w->buf, n);
		grow(f, f->size + n);
		note(w, "append", n, 0, r);
		break;
	case 5: {
		fill(w, w->buf, n);
		struct iovec v[3] = {{w->buf, n / 4}, {w->buf + n / 4, 0}, {w->buf + n / 4, n - n / 4}};
		r = pwritev(f->fd, v, 3, off);
		if (r != n)
			die(w, "pwritev of %ld at %ld: %ld", n, off, r);
		memcpy(f->model + off, w->buf, n);
		grow(f, off + n);
		note(w, "pwritev", off, n, r);
		break;
	}
	case 6:
	case 7:
		if (below(w, 6) == 0)
			off = 0;
		if (ftruncate(f->fd, off))
			die(w, "ftruncate to %ld", off);
		if (off < f->size)
			memset(f->model + off, 0, f->size - off);
		f->size = off;
		note(w, "truncate", off, 0, 0);
		break;
	case 8:
	case 9: {
		static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
		int mode = modes[below(w, 6)];
		r = fallocate(f->fd, mode, off, n);
		if (r)
			die(w, "fallocate %#x of %ld at %ld", mode, n, off);
		if (mode & ~FALLOC_FL_KEEP_SIZE)
			memset(f->model + off, 0, n);
		if (!(mode & FALLOC_FL_KEEP_SIZE))
			grow(f, off + n);
		note(w, "fallocate", off, n, mode);
		break;
	}
	case 10:
		note(w, "fsync", i, 0, below(w, 2) ? fsync(f->fd) : fdatasync(f->other));
		break;
	case 11:
		if (fstat(f->fd, &st) || st.st_size != f->size || st.st_nlink != f->linked)
			die(w, "fstat: size %ld, want %ld, %ld links, want %d", (long)st.st_size, f->size, (long)st.st_nlink, f->linked);
		note(w, "fstat", st.st_size, st.st_mode, 0);
		break;
	case 12: { /* what is a hole must be zero */
		long hole = lseek(f->fd, off, SEEK_HOLE), data = lseek(f->fd, off, SEEK_DATA);
		if (off >= f->size) {
			if (hole != -1 || data != -1)
				die(w, "seek from %ld behind the end", off);
			break;
		}
		if (hole < off || hole > f->size || (data != -1 && data < off))
			die(w, "seek from %ld: data %ld, hole %ld of %ld", off, data, hole, f->size);
		for (long k = off; k < (data < 0 || data > f->size ? f->size : data); k++)
			if (f->model[k])
				die(w, "SEEK_DATA from %ld leads to %ld, but %ld is not zero", off, data, k);
		break;
	}
	case 13: {
		struct file *g = &w->f[(i + 1) % FILES];
		loff_t in = off, out = below(w, SIZE - 70000);
		long want = off >= f->size ? 0 : f->size - off < n ? f->size - off : n, start = out;
		long done = 0;
		while (done < want && (r = copy_file_range(f->fd, &in, g->fd, &out, want - done, 0)) > 0)
			done += r;
		if (done != want)
			die(w, "copy_file_range of %ld from %ld to %ld: %ld", want, off, start, done);
		memcpy(g->model + start, f->model + off, want);
		if (want)
			grow(g, start + want);
		note(w, "copy", off, start, done);
		break;
	}
	case 14:
		private(w, f);
		break;
	case 15: /* without a name, or with one again */
		if (f->linked) {
			char path[600];
			snprintf(path, sizeof path, "%s/content%d", w->dir, i);
			if (below(w, 6))
				break;
			note(w, "unlink", i, 0, unlink(path));
			f->linked = 0;
		} else {
			for (int k = 0; k < MAPS; k++)
				unmap(f, k);
			close(f->fd), close(f->other);
			memset(f->model, 0, SIZE);
			f->size = 0;
			openfile(w, f, i);
			note(w, "again", i, 0, 0);
		}
		break;
	case 16:
	case 17:
	case 18:
	case 19:
		mapped(w, f);
		break;
	default:
		compare(w, f, off, n, "content");
		note(w, "read", off, n, 0);
	}
}

static const char *name(struct worker *w, char *buf, size_t size)
{
	static const char *const dirs[] = {"", "", "", "d0/", "d1/", "d0/d1/"};
	int i = below(w, NAMES), k = below(w, 10);
	const char *dir = dirs[below(w, 6)];
	if (k == 0)
		snprintf(buf, size, "%s/names/%sd%d", w->dir, dir, i % 3);
	else if (k == 1)
		snprintf(buf, size, "%s/names/%s%0*d", w->dir, dir, 20 + i * 15, i);
	else
		snprintf(buf, size, "%s/names/%sn%d", w->dir, dir, i);
	return buf;
}

static long listing(struct worker *w, const char *path)
{
	DIR *d = opendir(path);
	if (!d)
		return -1;
	uint64_t all = 0;
	long count = 0, back = -1;
	struct dirent *e;
	while ((e = readdir(d))) {
		uint64_t h = 14695981039346656037u;
		for (const char *p = e->d_name; *p; p++)
			h = (h ^ (unsigned char)*p) * 1099511628211u;
		all += h ^ e->d_type;
		if (++count == 5)
			back = telldir(d);
	}
	if (back >= 0) { /* from the sixth on, again */
		long again = 0;
		seekdir(d, back);
		while (readdir(d))
			again++;
		if (again != count - 5)
			die(w, "%s has %ld names, and %ld behind the fifth", path, count, again);
	}
	closedir(d);
	note(w, "list", count, all & 0x7fffffff, 0);
	return 0;
}

static void names(struct worker *w)
{
	char a[PATH_MAX], b[PATH_MAX], value[300];
	struct stat st;
	long n, r;
	name(w, a, sizeof a);
	name(w, b, sizeof b);
	switch (below(w, 22)) {
	case 0:
	case 1:
	case 2:
		n = below(w, 0100);
		r = open(a, O_CREAT | O_RDWR | (n & 1 ? O_EXCL : 0), 0600 | n);
		note(w, "creat", 0, 0, r < 0 ? -1 : 0);
		if (r >= 0) {
			memset(value, 'a' + n % 26, sizeof value);
			n = below(w, 100);
			if (fstat(r, &st) == 0 && S_ISREG(st.st_mode))
				note(w, "write", 0, 0, write(r, value, n));
			close(r);
		}
		break;
	case 3:
	case 4:
		note(w, "mkdir", 0, 0, mkdir(a, 0755));
		break;
	case 5:
	case 6:
	case 7:
		note(w, "unlink", 0, 0, unlink(a));
		break;
	case 8:
		note(w, "rmdir", 0, 0, rmdir(a));
		break;
	case 9:
	case 10:
		note(w, "rename", 0, 0, rename(a, b));
		break;
	case 11: {
		unsigned flags = 1 + below(w, 2);
		note(w, "renameat2", flags, 0, syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, flags));
		break;
	}
	case 12:
		note(w, "link", 0, 0, link(a, b));
		break;
	case 13:
		memset(value, 'x', sizeof value);
		value[1 + below(w, 200)] = 0;
		note(w, "symlink", 0, 0, symlink(value, a));
		break;
	case 14:
		r = readlink(a, value, sizeof value);
		note(w, "readlink", 0, 0, r);
		break;
	case 15:
		note(w, "mknod", 0, 0, mknod(a, (below(w, 2) ? S_IFIFO : S_IFSOCK) | 0644, 0));
		break;
	case 16:
		note(w, "chmod", 0, 0, chmod(a, below(w, 010000) & 06777));
		n = below(w, 1000);
		note(w, "lchown", 0, 0, lchown(b, n % 3 * 40000, n));
		break;
	case 17: {
		struct timespec ts[2];
		for (int i = 0; i < 2; i++) {
			ts[i].tv_sec = below(w, 1000000000);
			ts[i].tv_nsec = below(w, 1000000000);
		}
		r = utimensat(AT_FDCWD, a, ts, AT_SYMLINK_NOFOLLOW);
		note(w, "utimensat", 0, 0, r);
		if (r == 0 && (lstat(a, &st) || st.st_mtim.tv_sec != ts[1].tv_sec || st.st_mtim.tv_nsec != ts[1].tv_nsec || st.st_atim.tv_sec != ts[0].tv_sec))
			die(w, "times of %s are not what they were set to", a);
		break;
	}
	case 18:
		memset(value, 'a' + below(w, 26), sizeof value);
		n = below(w, 1600);
		note(w, "setxattr", 0, 0, lsetxattr(a, n & 1 ? "user.a" : "trusted.b", value, n % 200, n / 200 > 2 ? 0 : n / 200));
		break;
	case 19:
		r = lgetxattr(a, "user.a", value, sizeof value);
		note(w, "getxattr", r > 0 ? value[0] : 0, 0, r);
		note(w, "removexattr", 0, 0, below(w, 3) ? 0 : lremovexattr(a, "user.a"));
		break;
	case 20:
		if (listing(w, a) < 0)
			note(w, "list", 0, 0, -1);
		break;
	case 21:
		r = lstat(a, &st);
		note(w, "lstat", r ? 0 : st.st_mode, r ? 0 : st.st_nlink, r);
		if (r == 0 && !S_ISDIR(st.st_mode))
			note(w, "size", st.st_size, st.st_uid, 0);
	}
}

/* fight does something to names that all threads use; what comes of it is not noted. */
static void fight(struct worker *w)
{
	char a[PATH_MAX], b[PATH_MAX];
	int fd;
	snprintf(a, sizeof a, "%s/shared/%ld", top, below(w, 6));
	snprintf(b, sizeof b, "%s/shared/%ld", top, below(w, 6));
	switch (below(w, 5)) {
	case 0:
		if ((fd = open(a, O_CREAT | O_RDWR | O_APPEND, 0644)) >= 0) {
			if (write(fd, "line\n", 5) != 5)
				die(w, "write to a shared file");
			close(fd);
		}
		break;
	case 1:
		unlink(a);
		break;
	case 2:
		rename(a, b);
		break;
	case 3:
		link(a, b);
		break;
	case 4:
		syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	char path[600];
	snprintf(w->dir, sizeof w->dir, "%s/t%d", top, w->id);
	snprintf(path, sizeof path, "%s/names", w->dir);
	if (mkdir(w->dir, 0755) || mkdir(path, 0755))
		die(w, "mkdir %s", path);
	w->buf = malloc(1 << 17);
	for (int i = 0; i < FILES; i++) {
		w->f[i].model = calloc(1, SIZE);
		openfile(w, &w->f[i], i);
	}
	for (w->step = 0; w->step < w->ops; w->step++) {
		switch (below(w, 8)) {
		case 0:
		case 1:
		case 2:
			names(w);
			break;
		case 3:
			if (below(w, 3) == 0) {
				fight(w);
				break;
			}
			/* fall through */
		default:
			content(w);
		}
		if (w->step % EVERY == EVERY - 1) {
			flockfile(stdout);
			printf("thread %d, %ld operations: %016lx\n", w->id, w->step + 1, (unsigned long)w->sum);
			funlockfile(stdout);
		}
		if (below(w, 3000) == 0)
			sync();
	}
	for (int i = 0; i < FILES; i++) {
		for (long off = 0; off < w->f[i].size; off += 1 << 16)
			compare(w, &w->f[i], off, 1 << 16, "at the end");
		for (int k = 0; k < MAPS; k++)
			unmap(&w->f[i], k);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	top = argv[1];
	int threads = atoi(argv[4]);
	if (argc > 6)
		first = atol(argv[5]), last = atol(argv[6]);
	struct sigaction act = {.sa_handler = onsignal};
	sigaction(SIGBUS, &act, 0);
	sigaction(SIGSEGV, &act, 0);
	char path[600];
	snprintf(path, sizeof path, "%s/shared", top);
	umask(022);
	mkdir(top, 0755);
	if (mkdir(path, 0755)) {
		perror(path);
		return 2;
	}
	struct worker *w = calloc(threads, sizeof *w);
	for (int i = 0; i < threads; i++) {
		w[i].id = i;
		w[i].ops = atol(argv[3]);
		w[i].rnd = (strtoull(argv[2], 0, 10) + 1) * 0x9e3779b97f4a7c15u + i * 1000003;
		w[i].sum = 14695981039346656037u;
		if (pthread_create(&w[i].thread, 0, work, &w[i]))
			return 2;
	}
	for (int i = 0; i < threads; i++)
		pthread_join(w[i].thread, 0);
	printf("done\n");
	return 0;
}
