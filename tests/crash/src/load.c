// A load of small changes, each made durable and then reported on standard output, until somebody
// ends it. The argument is the number of the round; the round before the last one is cleared away.
//
// Reports, a line each, T being the thread and N a number:
//   F T N SIZE   file aN has its content
//   R T N        aN has become bN
//   D T N        bN is gone
//   O T N        bN has taken the place of "over"
//   L T N        "log" has N records
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { threads = 3, record = 64, largest = 60000 };

static int round_nr;

static void check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
}

__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
	char line[80];
	__builtin_va_list ap;
	__builtin_va_start(ap, format);
	int n = vsnprintf(line, sizeof line, format, ap);
	__builtin_va_end(ap);
	check(write(1, line, n) == n, "report");
}

// content is byte i of file n of thread t.
static unsigned char content(int t, int n, long i)
{
	return (unsigned char)(round_nr * 89 + t * 53 + n * 31 + i * 7 + (i >> 8) * 3 + 1);
}

static void sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	check(fd >= 0, "open directory");
	check(fsync(fd) == 0, "fsync directory");
	close(fd);
}

static void make(const char *path, int t, int n, long size, int flush)
{
	unsigned char *p = malloc(size + 1);
	check(p != NULL, "malloc");
	for (long i = 0; i < size; i++)
		p[i] = content(t, n, i);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
	check(fd >= 0, path);
	for (long at = 0; at < size;) {
		long k = write(fd, p + at, size - at < 7000 ? size - at : 7000);
		check(k > 0, "write");
		at += k;
	}
	if (flush)
		check(fsync(fd) == 0, "fsync");
	check(close(fd) == 0, "close");
	free(p);
}

static void *load(void *arg)
{
	int t = (int)(long)arg;
	char dir[64], a[128], b[128], over[128], path[128];
	snprintf(dir, sizeof dir, "/r%d/t%d", round_nr, t);
	check(mkdir(dir, 0755) == 0, dir);
	snprintf(path, sizeof path, "/r%d", round_nr);
	sync_dir(path);
	snprintf(over, sizeof over, "%s/over", dir);
	snprintf(path, sizeof path, "%s/log", dir);
	int log = open(path, O_CREAT | O_WRONLY | O_APPEND, 0644);
	check(log >= 0, "log");
	sync_dir(dir);
	make(over, t, 0, 100, 1); // what is replaced must be there: a rename alone makes no content durable
	sync_dir(dir);
	unsigned seed = round_nr * 7919 + t;
	for (int n = 0;; n++) {
		long size = rand_r(&seed) % largest;
		snprintf(a, sizeof a, "%s/a%d", dir, n);
		snprintf(b, sizeof b, "%s/b%d", dir, n);
		make(a, t, n, size, 1);
		report("F %d %d %ld\n", t, n, size);
		check(rename(a, b) == 0, "rename");
		if (n % 2 == 0) {
			sync_dir(dir);
			report("R %d %d\n", t, n);
		}
		char r[record];
		for (int i = 0; i < record; i++)
			r[i] = content(t, n, i);
		check(write(log, r, record) == record, "append");
		if (n % 3 == 0) {
			check(fdatasync(log) == 0, "fdatasync");
			report("L %d %d\n", t, n + 1);
		}
		if (n >= 10 && n % 4 == 0) {
			snprintf(path, sizeof path, "%s/b%d", dir, n - 10);
			check(unlink(path) == 0, "unlink");
			sync_dir(dir);
			report("D %d %d\n", t, n - 10);
		}
		if (n % 5 == 4) {
			// The old way to replace a file, without an fsync of its content.
			snprintf(path, sizeof path, "%s/new", dir);
			make(path, t, n, size / 2, 0);
			check(rename(path, over) == 0, "rename over");
			sync_dir(dir);
			report("O %d %d %ld\n", t, n, size / 2);
		}
	}
	return NULL;
}

static void clear_away(const char *dir)
{
	DIR *d = opendir(dir);
	if (d == NULL)
		return;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char path[512];
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (unlink(path) != 0)
			clear_away(path);
	}
	closedir(d);
	rmdir(dir);
}

int main(int argc, char **argv)
{
	char path[64];
	round_nr = argc > 1 ? atoi(argv[1]) : 0;
	snprintf(path, sizeof path, "/r%d", round_nr);
	check(mkdir(path, 0755) == 0, path);
	sync_dir("/");
	pthread_t id[threads];
	for (long t = 0; t < threads; t++)
		check(pthread_create(&id[t], NULL, load, (void *)t) == 0, "thread");
	snprintf(path, sizeof path, "/r%d", round_nr - 2);
	clear_away(path);
	pthread_join(id[0], NULL);
	return 1;
}
