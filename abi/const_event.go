package abi

// Constants of event queues, events and timers as descriptors, and interval timers.

// Flags of epoll_create1(2).
const EPOLL_CLOEXEC = O_CLOEXEC

// Operations of epoll_ctl(2).
const (
	EPOLL_CTL_ADD = 1
	EPOLL_CTL_DEL = 2
	EPOLL_CTL_MOD = 3
)

// Events of epoll_ctl(2): those of poll(2) under other names, and how to tell of them.
const (
	EPOLLIN        = POLLIN
	EPOLLPRI       = POLLPRI
	EPOLLOUT       = POLLOUT
	EPOLLERR       = POLLERR
	EPOLLHUP       = POLLHUP
	EPOLLRDNORM    = POLLRDNORM
	EPOLLRDBAND    = POLLRDBAND
	EPOLLWRNORM    = POLLWRNORM
	EPOLLWRBAND    = POLLWRBAND
	EPOLLMSG       = POLLMSG
	EPOLLRDHUP     = POLLRDHUP
	EPOLLEXCLUSIVE = 1 << 28
	EPOLLWAKEUP    = 1 << 29
	EPOLLONESHOT   = 1 << 30
	EPOLLET        = 1 << 31
)

// Flags of eventfd2(2).
const (
	EFD_SEMAPHORE = 0x1
	EFD_NONBLOCK  = O_NONBLOCK
	EFD_CLOEXEC   = O_CLOEXEC
)

// Flags of signalfd4(2).
const (
	SFD_NONBLOCK = O_NONBLOCK
	SFD_CLOEXEC  = O_CLOEXEC
)

// Flags of timerfd_create(2) and timerfd_settime(2), and an ioctl of timerfd_create(2).
const (
	TFD_NONBLOCK            = O_NONBLOCK
	TFD_CLOEXEC             = O_CLOEXEC
	TFD_TIMER_ABSTIME       = 0x1
	TFD_TIMER_CANCEL_ON_SET = 0x2
	TFD_IOC_SET_TICKS       = 0x40085400
)

// Timers of setitimer(2).
const (
	ITIMER_REAL    = 0
	ITIMER_VIRTUAL = 1
	ITIMER_PROF    = 2
)

// How to tell of the end of a timer (sigevent(7)).
const (
	SIGEV_SIGNAL    = 0
	SIGEV_NONE      = 1
	SIGEV_THREAD    = 2
	SIGEV_THREAD_ID = 4
)
