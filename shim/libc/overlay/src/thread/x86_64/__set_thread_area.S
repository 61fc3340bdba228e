/* int __set_thread_area(void *tp) */
#include <pinhole.h>

.hidden __ph_gate
.text
.global __set_thread_area
.hidden __set_thread_area
.type __set_thread_area,@function
__set_thread_area:
	mov $PH_THREAD_SET_TLS, %eax
	call *__ph_gate(%rip)
	ret
.size __set_thread_area,.-__set_thread_area

.section .note.GNU-stack,"",@progbits
