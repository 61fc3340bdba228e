// The smallest useful program; with an argument it waits for the end of its input.
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char c;
	(void)argv;
	puts("hello, world");
	fflush(stdout);
	if (argc > 1)
		while (read(0, &c, 1) == 1)
			;
	return 0;
}
