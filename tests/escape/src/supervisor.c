// The supervisor and other processes of the host: supervisor PID.
#include "guest.h"

static int guest(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	const long pids[] = {number(argv[1]), 1, 2, call(PH_PROC_PARENT, 0, 0, 0, 0, 0, 0), -1};
	char b[64];
	const ulong local[2] = {(ulong)b, sizeof b}, remote[2] = {0x60001000, sizeof b};
	for (ulong i = 0; i < sizeof pids / sizeof *pids; i++) {
		long pid = pids[i];
		if (pid == 0 || pid == call(PH_PROC_PID, 0, 0, 0, 0, 0, 0))
			continue; // the caller itself
		tell("ptrace attach", raw(101, 16, pid, 0, 0, 0, 0));
		tell("ptrace seize", raw(101, 0x4206, pid, 0, 0, 0, 0));
		tell("process_vm_readv", raw(310, pid, (long)local, 1, (long)remote, 1, 0));
		tell("process_vm_writev", raw(311, pid, (long)local, 1, (long)remote, 1, 0));
		tell("pidfd_open", raw(434, pid, 0, 0, 0, 0, 0));
		tell("prlimit", raw(302, pid, 7, 0, (long)b, 0, 0));
		tell("sched_setaffinity", raw(203, pid, 8, (long)local, 0, 0, 0));
		if (pid != -1) // everybody, itself included
			tell("kill", raw(62, pid, 9, 0, 0, 0, 0));
	}
	out("done\n");
	show();
	return 0;
}
