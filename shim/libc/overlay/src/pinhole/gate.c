/* See arch/x86_64/syscall_arch.h. Data, not bss: they are written before relocation. */
__attribute__((__visibility__("hidden"), __section__(".data"))) const void *__ph_gate, *__ph_linux_gate;
