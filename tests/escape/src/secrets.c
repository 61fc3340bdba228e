// What a program is born with: arguments, environment, auxiliary vector, name of the host.
// The test reads the output, and all of the process's memory from outside.
#include "guest.h"

static int guest(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		out("argument "), out(argv[i]), out("\n");
	for (char **e = argv + argc + 1; *e; e++)
		out("environment "), out(*e), out("\n");
	const ulong execfn = ph_auxval(auxv, 31), platform = ph_auxval(auxv, 15);
	if (execfn)
		out("executed "), out((const char *)execfn), out("\n");
	if (platform)
		out("platform "), out((const char *)platform), out("\n");
	char uts[6][65];
	if (call(PH_SYS_UNAME, (long)uts, 0, 0, 0, 0, 0) == 0)
		for (int i = 0; i < 6; i++)
			out("uname "), out(uts[i]), out("\n");
	show();
	return 0;
}
