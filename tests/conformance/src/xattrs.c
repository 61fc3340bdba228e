// Extended attributes: setxattr(2), getxattr(2), listxattr(2), removexattr(2), and their forms for links
// and descriptors.
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

// has tells whether name is in a list of names.
static int has(const char *list, ssize_t n, const char *name)
{
	for (const char *p = list; p < list + n; p += strlen(p) + 1)
		if (!strcmp(p, name))
			return 1;
	return 0;
}

int main(void)
{
	static char b[70000], list[70000], value[70000];
	char *volatile wild = (char *)8;
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	CHECK(fd >= 0 && mkdir("d", 0755) == 0 && symlink("f", "l") == 0 && mkfifo("p", 0666) == 0);

	CHECK(listxattr("f", list, 0) >= 0);
	FAILS(ENODATA, getxattr("f", "user.a", b, sizeof b));
	CHECK(setxattr("f", "user.a", "one", 3, 0) == 0);
	CHECK(getxattr("f", "user.a", 0, 0) == 3);
	CHECK(getxattr("f", "user.a", b, sizeof b) == 3 && !memcmp(b, "one", 3));
	CHECK(getxattr("l", "user.a", b, 3) == 3);
	FAILS(ERANGE, getxattr("f", "user.a", b, 2));
	FAILS(EEXIST, setxattr("f", "user.a", "two", 3, XATTR_CREATE));
	CHECK(setxattr("f", "user.a", "two two", 7, XATTR_REPLACE) == 0);
	CHECK(fgetxattr(fd, "user.a", b, sizeof b) == 7 && !memcmp(b, "two two", 7));
	FAILS(ENODATA, setxattr("f", "user.b", "x", 1, XATTR_REPLACE));
	CHECK(fsetxattr(fd, "user.b", "", 0, XATTR_CREATE) == 0);
	CHECK(getxattr("f", "user.b", b, sizeof b) == 0);
	FAILS(EINVAL, setxattr("f", "user.c", "x", 1, 8));

	ssize_t n = listxattr("f", list, sizeof list);
	CHECK(n >= 14 && has(list, n, "user.a") && has(list, n, "user.b"));
	CHECK(listxattr("f", 0, 0) == n && flistxattr(fd, list, n) == n);
	FAILS(ERANGE, listxattr("f", list, n - 1));

	CHECK(removexattr("f", "user.b") == 0);
	FAILS(ENODATA, removexattr("f", "user.b"));
	CHECK(fremovexattr(fd, "user.a") == 0);
	FAILS(ENODATA, fgetxattr(fd, "user.a", b, 10));

	// Names and values at their limits.
	char name[300];
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[255] = 0;
	CHECK(setxattr("f", name, "long", 4, 0) == 0 && getxattr("f", name, b, 10) == 4);
	CHECK(removexattr("f", name) == 0);
	name[255] = 'n', name[256] = 0;
	FAILS(ERANGE, setxattr("f", name, "long", 4, 0));
	FAILS(ERANGE, getxattr("f", name, b, 4));
	FAILS(ERANGE, setxattr("f", "", "x", 1, 0));
	FAILS(EINVAL, setxattr("f", "user.", "x", 1, 0));
	FAILS(EOPNOTSUPP, setxattr("f", "nothing.a", "x", 1, 0));
	FAILS(EOPNOTSUPP, getxattr("f", "nothing", b, 10));
	FAILS(E2BIG, setxattr("f", "user.big", value, 65537, 0));
	FAILS(ENOSPC, setxattr("f", "user.big", value, 65536, 0)); // of ext4 without large attributes
	FAILS(ENODATA, getxattr("f", "user.big", b, 10));
	memset(value, 'v', sizeof value);
	CHECK(setxattr("f", "user.v", value, 600, 0) == 0);
	CHECK(getxattr("f", "user.v", b, sizeof b) == 600 && !memcmp(b, value, 600));
	CHECK(setxattr("f", "user.v", value, 40, 0) == 0 && getxattr("f", "user.v", b, sizeof b) == 40);

	// Many, of which each is found again.
	int many = 0;
	for (; many < 200; many++) {
		snprintf(name, sizeof name, "user.%d", many);
		snprintf(value, sizeof value, "value %d", many * many);
		if (setxattr("d", name, value, strlen(value), 0))
			break;
	}
	CHECK(many >= 10 && (many == 200 || errno == ENOSPC));
	n = listxattr("d", list, sizeof list);
	for (int i = 0; i < many; i++) {
		snprintf(name, sizeof name, "user.%d", i);
		snprintf(value, sizeof value, "value %d", i * i);
		ssize_t k = getxattr("d", name, b, sizeof b);
		CHECK(k == (ssize_t)strlen(value) && !memcmp(b, value, k) && has(list, n, name));
	}
	for (int i = 0; i < many; i += 2) {
		snprintf(name, sizeof name, "user.%d", i);
		CHECK(removexattr("d", name) == 0);
	}
	for (int i = 1; i < many; i += 2) {
		snprintf(name, sizeof name, "user.%d", i);
		CHECK(getxattr("d", name, b, sizeof b) > 0);
	}

	// What is no file: only trusted and security ones.
	FAILS(EPERM, lsetxattr("l", "user.a", "x", 1, 0));
	FAILS(EPERM, setxattr("p", "user.a", "x", 1, 0));
	FAILS(ENODATA, lgetxattr("l", "user.a", b, 10));
	CHECK(llistxattr("l", list, sizeof list) >= 0);
	FAILS(ENOENT, setxattr("none", "user.a", "x", 1, 0));
	FAILS(ENOENT, getxattr("", "user.a", b, 10));
	FAILS(ENOTDIR, listxattr("f/x", list, 10));
	FAILS(EBADF, fsetxattr(99, "user.a", "x", 1, 0));
	FAILS(EFAULT, setxattr("f", wild, "x", 1, 0));
	FAILS(EFAULT, setxattr("f", "user.x", wild, 1, 0));
	CHECK(setxattr("f", "user.x", "xyz", 3, 0) == 0);
	FAILS(EFAULT, getxattr("f", "user.x", wild, 10));
	int path = open("f", O_PATH);
	FAILS(EBADF, fgetxattr(path, "user.x", b, 10));
	int ro = open("f", O_RDONLY);
	CHECK(fsetxattr(ro, "user.ro", "1", 1, 0) == 0);

	// Access control lists are kept as they are.
	const unsigned char acl[] = {2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,  2, 0, 4, 0, 232, 3, 0, 0,  4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255,  32, 0, 4, 0, 255, 255, 255, 255};
	FAILS(ENODATA, getxattr("d", "system.posix_acl_default", b, sizeof b));
	FAILS(EOPNOTSUPP, setxattr("d", "system.posix_acl_default", "nonsense", 8, 0));
	FAILS(EINVAL, setxattr("d", "system.posix_acl_default", acl, 3, 0));
	FAILS(EINVAL, setxattr("d", "system.posix_acl_default", acl, sizeof acl - 1, 0));
	CHECK(setxattr("d", "system.posix_acl_default", acl, sizeof acl, 0) == 0);
	CHECK(getxattr("d", "system.posix_acl_default", b, sizeof b) == sizeof acl && !memcmp(b, acl, sizeof acl));
	n = listxattr("d", list, sizeof list);
	CHECK(has(list, n, "system.posix_acl_default"));
	CHECK(setxattr("f", "system.posix_acl_access", acl, sizeof acl, 0) == 0);
	CHECK(getxattr("f", "system.posix_acl_access", b, sizeof b) == sizeof acl && !memcmp(b, acl, sizeof acl));
	FAILS(EACCES, setxattr("f", "system.posix_acl_default", acl, sizeof acl, 0));
	CHECK(removexattr("f", "system.posix_acl_access") == 0);
	FAILS(ENODATA, getxattr("f", "system.posix_acl_access", b, sizeof b));

	if (geteuid() == 0) {
		CHECK(setxattr("f", "trusted.a", "t", 1, 0) == 0 && getxattr("f", "trusted.a", b, 10) == 1);
		CHECK(lsetxattr("l", "trusted.a", "link", 4, 0) == 0 && lgetxattr("l", "trusted.a", b, 10) == 4);
		CHECK(setxattr("p", "trusted.a", "pipe", 4, 0) == 0 && getxattr("p", "trusted.a", b, 10) == 4);
		CHECK(setxattr("f", "security.test", "s", 1, 0) == 0 && getxattr("f", "security.test", b, 10) == 1);
		CHECK(chmod("d", 01777) == 0 && chmod("f", 0644) == 0 && chown("f", 0, 0) == 0 && seteuid(1000) == 0);
		FAILS(EPERM, setxattr("f", "trusted.a", "t", 1, 0));
		FAILS(ENODATA, getxattr("f", "trusted.a", b, 10));
		FAILS(EPERM, setxattr("f", "security.test", "s", 1, 0));
		CHECK(getxattr("f", "security.test", b, 10) == 1);
		FAILS(EACCES, setxattr("f", "user.x", "s", 1, 0));
		CHECK(getxattr("f", "user.x", b, 10) == 3);
		FAILS(EPERM, setxattr("d", "user.x", "s", 1, 0)); // sticky
		n = listxattr("f", list, sizeof list);
		CHECK(n > 0 && !has(list, n, "trusted.a") && has(list, n, "security.test"));
		CHECK(seteuid(0) == 0 && chmod("f", 0600) == 0 && seteuid(1000) == 0);
		FAILS(EACCES, getxattr("f", "user.x", b, 10));
		CHECK(seteuid(0) == 0);
	}
	return check_done();
}
