// Who a process is: real, effective, saved and file system ids and what others than root may make of them,
// groups, capabilities.
#include "child.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <semaphore.h>
#include <sys/fsuid.h>

// field returns a line of the thread's status without its name, as numbers of the given base.
static int field(const char *name, int base, unsigned long long *v, int max)
{
	char line[4096], path[64];
	int n = 0;
	snprintf(path, sizeof path, "/proc/self/task/%ld/status", syscall(SYS_gettid));
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f)) {
		if (strncmp(line, name, strlen(name)) || line[strlen(name)] != ':')
			continue;
		char *s = line + strlen(name) + 1, *end;
		for (; n < max; n++, s = end) {
			v[n] = strtoull(s, &end, base);
			if (end == s)
				break;
		}
	}
	if (f)
		fclose(f);
	return n;
}

static int shown(const char *name, uid_t r, uid_t e, uid_t s, uid_t f)
{
	unsigned long long v[5];
	if (field(name, 10, v, 5) == 4 && v[0] == r && v[1] == e && v[2] == s && v[3] == f)
		return 1;
	printf("%s: %llu %llu %llu %llu\n", name, v[0], v[1], v[2], v[3]);
	return 0;
}

static int uids(uid_t r, uid_t e, uid_t s)
{
	uid_t a, b, c;
	return getresuid(&a, &b, &c) == 0 && a == r && b == e && c == s && getuid() == r && geteuid() == e && shown("Uid", r, e, s, e);
}

static int gids(gid_t r, gid_t e, gid_t s)
{
	gid_t a, b, c;
	return getresgid(&a, &b, &c) == 0 && a == r && b == e && c == s && getgid() == r && getegid() == e && shown("Gid", r, e, s, e);
}

#define KEEP ((uid_t)-1)

// The rules, for users and for groups. A case starts from three ids and makes a call, which leads to the three
// behind it, or fails.
static const struct {
	uid_t from[3];
	char call; // 1: setuid, 2: setreuid, 3: setresuid
	uid_t arg[3];
	int err;
	uid_t to[3];
} cases[] = {
	{{0, 0, 0}, '2', {101, 0}, 0, {101, 0, 0}},
	{{101, 0, 0}, '2', {0, 102}, 0, {0, 102, 102}},
	{{0, 0, 5}, '2', {KEEP, 0}, 0, {0, 0, 5}},
	{{0, 0, 5}, '2', {KEEP, 7}, 0, {0, 7, 7}},
	{{0, 0, 5}, '2', {0, KEEP}, 0, {0, 0, 0}},
	{{0, 0, 5}, '2', {KEEP, KEEP}, 0, {0, 0, 5}},
	{{0, 0, 0}, '1', {9}, 0, {9, 9, 9}},
	{{1, 0, 2}, '1', {9}, 0, {9, 9, 9}},
	{{0, 0, 0}, '1', {KEEP}, EINVAL},
	{{0, 0, 0}, '3', {1, 2, 3}, 0, {1, 2, 3}},
	{{0, 0, 0}, '3', {KEEP, 2, KEEP}, 0, {0, 2, 0}},
	// Not as root.
	{{1, 2, 3}, '2', {2, 1}, 0, {2, 1, 1}},
	{{1, 2, 3}, '2', {KEEP, 3}, 0, {1, 3, 3}},
	{{1, 2, 3}, '2', {KEEP, 1}, 0, {1, 1, 3}},
	{{1, 2, 3}, '2', {KEEP, 2}, 0, {1, 2, 2}},
	{{1, 2, 3}, '2', {2, KEEP}, 0, {2, 2, 2}},
	{{1, 2, 3}, '2', {3, KEEP}, EPERM},
	{{1, 2, 3}, '2', {KEEP, 4}, EPERM},
	{{1, 2, 3}, '2', {1, 4}, EPERM},
	{{1, 2, 3}, '2', {0, 0}, EPERM},
	{{1, 2, 3}, '1', {3}, 0, {1, 3, 3}},
	{{1, 2, 3}, '1', {1}, 0, {1, 1, 3}},
	{{1, 2, 3}, '1', {2}, EPERM},
	{{1, 2, 3}, '1', {0}, EPERM},
	{{1, 2, 0}, '1', {0}, 0, {1, 0, 0}},
	{{0, 2, 3}, '1', {0}, 0, {0, 0, 3}},
	{{1, 2, 3}, '3', {3, 1, 2}, 0, {3, 1, 2}},
	{{1, 2, 3}, '3', {KEEP, 3, 1}, 0, {1, 3, 1}},
	{{1, 2, 3}, '3', {1, 2, 4}, EPERM},
};

// one checks a case, in a process of its own, as most do not lead back.
static int one(int i, int group)
{
	const uid_t *f = cases[i].from, *a = cases[i].arg, *to = cases[i].err ? f : cases[i].to;
	long r = -1;
	if (group) {
		CHECK(setresgid(f[0], f[1], f[2]) == 0 && (f[1] == 0 || setresuid(50, 50, 50) == 0) && gids(f[0], f[1], f[2]));
		errno = 0;
		switch (cases[i].call) {
		case '1': r = setgid(a[0]); break;
		case '2': r = setregid(a[0], a[1]); break;
		case '3': r = setresgid(a[0], a[1], a[2]); break;
		}
		CHECK(r == (cases[i].err ? -1 : 0) && errno == cases[i].err && gids(to[0], to[1], to[2]));
	} else {
		CHECK(setresuid(f[0], f[1], f[2]) == 0 && uids(f[0], f[1], f[2]));
		errno = 0;
		switch (cases[i].call) {
		case '1': r = setuid(a[0]); break;
		case '2': r = setreuid(a[0], a[1]); break;
		case '3': r = setresuid(a[0], a[1], a[2]); break;
		}
		CHECK(r == (cases[i].err ? -1 : 0) && errno == cases[i].err && uids(to[0], to[1], to[2]));
	}
	return check_failed != 0;
}

// File system ids: who opens a file, and who owns a new one. The call tells what the id was, and nothing else.
static void test_files(void)
{
	struct stat st;
	gid_t few[] = {7, 8};
	int fd = open("roots", O_CREAT | O_RDWR, 0600);
	CHECK(fd >= 0 && close(fd) == 0 && chmod(".", 0777) == 0);
	CHECK(setfsuid(60) == 0 && setfsgid(61) == 0 && setfsuid(KEEP) == 60 && setfsgid(KEEP) == 61);
	CHECK(shown("Uid", 0, 0, 0, 60) && shown("Gid", 0, 0, 0, 61) && geteuid() == 0);
	CHECK(prctl(PR_GET_DUMPABLE) == 0);
	FAILS(EACCES, open("roots", O_RDONLY));
	fd = open("its", O_CREAT | O_RDWR, 0600);
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == 60 && st.st_gid == 61 && close(fd) == 0);
	CHECK(setfsuid(0) == 60 && setfsgid(0) == 61 && setfsuid(KEEP) == 0);
	// A call that changes the effective id takes it along, and one that does not takes it back.
	CHECK(setfsuid(60) == 0 && setresuid(KEEP, KEEP, KEEP) == 0);
	setfsuid(60);
	CHECK(setreuid(KEEP, 0) == 0 && setfsuid(KEEP) == 0);
	CHECK(setgroups(2, few) == 0 && getgroups(0, 0) == 2);
	unsigned long long v[4];
	CHECK(field("Groups", 10, v, 4) == 2 && v[0] == 7 && v[1] == 8);
	CHECK(setgroups(0, 0) == 0 && getgroups(0, 0) == 0 && field("Groups", 10, v, 4) == 0);
	// Others choose from the ids they have.
	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0 && prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
	CHECK(setresuid(1, 2, 3) == 0);
	int sig = -1;
	CHECK(prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == 0);
	CHECK(setfsuid(4) == 2 && setfsuid(1) == 2 && setfsuid(3) == 1 && setfsuid(0) == 3 && setfsuid(2) == 3 && setfsuid(KEEP) == 2);
	FAILS(EPERM, setgroups(2, few));
	CHECK(shown("Uid", 1, 2, 3, 2));
}

static long capget(struct __user_cap_header_struct *h, struct __user_cap_data_struct *d) { return syscall(SYS_capget, h, d); }
static long capset(struct __user_cap_header_struct *h, struct __user_cap_data_struct *d) { return syscall(SYS_capset, h, d); }

// What capget, prctl and /proc say is the same; what is not there cannot be had.
static void test_caps(void)
{
	struct __user_cap_header_struct h = {0x1234, 0};
	struct __user_cap_data_struct d[2], e[2];
	CHECK(capget(&h, 0) == 0 && h.version == _LINUX_CAPABILITY_VERSION_3);
	h.version = 1;
	FAILS(EINVAL, capget(&h, d));
	CHECK(h.version == _LINUX_CAPABILITY_VERSION_3);
	h.version = 1;
	FAILS(EINVAL, capset(&h, d));
	FAILS(EFAULT, capget((void *)8, d));
	FAILS(EFAULT, capget(&h, (void *)8));
	FAILS(EFAULT, capset(&h, (void *)8));
	h.pid = -1;
	FAILS(EINVAL, capget(&h, d));
	h.pid = 4000000;
	FAILS(ESRCH, capget(&h, d));
	FAILS(EPERM, capset(&h, d));
	h.pid = syscall(SYS_gettid);
	memset(d, 0xff, sizeof d), memset(e, 0xff, sizeof e);
	CHECK(capget(&h, d) == 0);
	h.version = _LINUX_CAPABILITY_VERSION_1;
	CHECK(capget(&h, e) == 0 && e[0].permitted == d[0].permitted && e[1].permitted == -1u);
	h.version = _LINUX_CAPABILITY_VERSION_3, h.pid = 0;
	unsigned long long inh, prm, eff, bnd, amb;
	CHECK(field("CapInh", 16, &inh, 1) && inh == (d[0].inheritable | (unsigned long long)d[1].inheritable << 32));
	CHECK(field("CapPrm", 16, &prm, 1) && prm == (d[0].permitted | (unsigned long long)d[1].permitted << 32));
	CHECK(field("CapEff", 16, &eff, 1) && eff == (d[0].effective | (unsigned long long)d[1].effective << 32));
	CHECK(field("CapBnd", 16, &bnd, 1) && field("CapAmb", 16, &amb, 1));
	for (int c = 0; c <= CAP_CHECKPOINT_RESTORE; c++)
		if (prctl(PR_CAPBSET_READ, c) != (bnd >> c & 1) || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) != (amb >> c & 1))
			CHECK(!"the bounding and the ambient set");
	FAILS(EINVAL, prctl(PR_CAPBSET_READ, 64));
	FAILS(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 64, 0, 0));
	FAILS(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 1, 1, 0));
	FAILS(EINVAL, prctl(PR_CAP_AMBIENT, 99, 0, 0, 0));
	FAILS(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
	CHECK(capset(&h, d) == 0);
	memset(d, 0, sizeof d);
	CHECK(capset(&h, d) == 0 && field("CapPrm", 16, &prm, 1) && prm == 0);
	CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, 3, 0, 0) == 0);
	FAILS(EPERM, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 3, 0, 0));
	FAILS(EPERM, prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
	d[0].permitted = d[0].effective = 1 << CAP_CHOWN;
	FAILS(EPERM, capset(&h, d));
	d[0].permitted = d[0].effective = 0, d[1].permitted = 1 << (CAP_CHECKPOINT_RESTORE - 32);
	FAILS(EPERM, capset(&h, d));
	d[1].permitted = 1u << 31; // is none
	CHECK(capset(&h, d) == 0);
}

static sem_t ask, told_it;
static volatile long answer;
static void *keeps(void *arg)
{
	for (int i = 0; i < (intptr_t)arg; i++) {
		sem_wait(&ask);
		answer = prctl(PR_GET_KEEPCAPS);
		sem_post(&told_it);
	}
	return 0;
}

static long other(void)
{
	sem_post(&ask), sem_wait(&told_it);
	return answer;
}

// Whether capabilities are kept is each thread's own, handed on to those it makes, and gone with a new program.
static void test_keep(void)
{
	pthread_t a, b;
	sem_init(&ask, 0, 0), sem_init(&told_it, 0, 0);
	CHECK(prctl(PR_GET_KEEPCAPS) == 0 && prctl(PR_GET_SECUREBITS) == 0);
	CHECK(pthread_create(&a, 0, keeps, (void *)2) == 0 && other() == 0);
	CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0 && prctl(PR_GET_KEEPCAPS) == 1 && prctl(PR_GET_SECUREBITS) == SECBIT_KEEP_CAPS);
	CHECK(other() == 0 && pthread_join(a, 0) == 0);
	CHECK(pthread_create(&b, 0, keeps, (void *)1) == 0 && other() == 1 && pthread_join(b, 0) == 0);
	FAILS(EINVAL, prctl(PR_SET_KEEPCAPS, 2));
	CHECK(code(run("kept", 0, 0, 0)) == 0);
	CHECK(prctl(PR_SET_KEEPCAPS, 0) == 0 && prctl(PR_GET_KEEPCAPS) == 0);
}

int main(int argc, char **argv)
{
	begin();
	if (argc > 1) {
		if (!strcmp(argv[1], "user") || !strcmp(argv[1], "group"))
			return one(atoi(argv[2]), argv[1][0] == 'g');
		if (!strcmp(argv[1], "files")) {
			test_files();
			return check_failed != 0;
		}
		if (!strcmp(argv[1], "caps")) {
			test_caps();
			return check_failed != 0;
		}
		if (!strcmp(argv[1], "kept"))
			return prctl(PR_GET_KEEPCAPS);
		return child(argc, argv);
	}
	enter();
	test_keep();
	CHECK(code(run("caps", 0, 0, 0)) == 0);
	FAILS(EINVAL, setuid(KEEP));
	CHECK(setreuid(KEEP, KEEP) == 0 && setresgid(KEEP, KEEP, KEEP) == 0);
	if (geteuid() != 0 || getuid() != 0) {
		FAILS(EPERM, setuid(0));
		FAILS(EPERM, setgroups(0, 0));
		return check_done();
	}
	for (int i = 0; i < sizeof cases / sizeof *cases; i++) {
		char n[8];
		snprintf(n, sizeof n, "%d", i);
		int user = code(run("user", n, 0, 0)), group = code(run("group", n, 0, 0));
		CHECK(user == 0 && group == 0);
		if (user || group)
			printf("case %d\n", i);
	}
	CHECK(code(run("files", 0, 0, 0)) == 0);
	return check_done();
}
