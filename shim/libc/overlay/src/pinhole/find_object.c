/*
 * _dl_find_object, by which libgcc's unwinder finds the unwind table of a program counter where
 * it was built beside glibc. The struct is glibc's interface (dlfcn.h, since 2.35).
 */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>

struct dl_find_object {
	unsigned long long flags;
	void *map_start;
	void *map_end;
	void *link_map;
	void *eh_frame;
	unsigned long long reserved[7];
};

struct search {
	uintptr_t pc;
	struct dl_find_object *found;
};

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *s = arg;
	uintptr_t lo = UINTPTR_MAX, hi = 0, table = 0;
	int hit = 0;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + ph->p_vaddr;
		if (ph->p_type == PT_GNU_EH_FRAME)
			table = at;
		if (ph->p_type != PT_LOAD)
			continue;
		if (s->pc - at < ph->p_memsz)
			hit = 1;
		if (at < lo)
			lo = at;
		if (at + ph->p_memsz > hi)
			hi = at + ph->p_memsz;
	}
	if (!hit || !table)
		return 0;
	*s->found = (struct dl_find_object){
		.map_start = (void *)lo,
		.map_end = (void *)hi,
		.eh_frame = (void *)table,
	};
	return 1;
}

int _dl_find_object(void *pc, struct dl_find_object *found)
{
	struct search s = { (uintptr_t)pc, found };
	return dl_iterate_phdr(look, &s) == 1 ? 0 : -1;
}
