package emu

import (
	"slices"
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// epolls is what the event queues of a kernel have in common: how they contain each other.
type epolls struct {
	watches atomic.Int64 // of all queues

	mu    sync.Mutex
	round uint64 // of epoll.visited
}

// epollLevels is how many event queues may contain each other in a row, beside the outermost.
const epollLevels = 4

// nest notes that outer watches inner, once more. ELOOP: they would contain each other, or there would be more
// than epollLevels levels.
func (s *epolls) nest(outer, inner *epoll) abi.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	below := s.levels(inner, func(e *epoll) []*epoll { return e.below })
	if outer.visited == s.round { // reached from inner
		return abi.ELOOP
	}
	s.round++
	above := s.levels(outer, func(e *epoll) []*epoll { return e.above })
	if below+1+above > epollLevels {
		return abi.ELOOP
	}
	outer.below = append(outer.below, inner)
	inner.above = append(inner.above, outer)
	return 0
}

// unnest takes back one nest.
func (s *epolls) unnest(outer, inner *epoll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outer.below = without(outer.below, inner)
	inner.above = without(inner.above, outer)
}

// without removes one e from list.
func without(list []*epoll, e *epoll) []*epoll {
	i := slices.Index(list, e)
	last := len(list) - 1
	list[i], list[last] = list[last], nil
	return list[:last]
}

// levels returns how many levels of queues there are beyond e in the direction of next. What is there
// contains no loop, and few levels.
func (s *epolls) levels(e *epoll, next func(*epoll) []*epoll) int {
	if e.visited == s.round {
		return e.depth
	}
	e.visited, e.depth = s.round, 0
	depth := 0
	for _, o := range next(e) {
		depth = max(depth, 1+s.levels(o, next))
	}
	e.depth = depth
	return depth
}
