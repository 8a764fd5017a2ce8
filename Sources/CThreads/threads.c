#define _GNU_SOURCE
#include "CThreads.h"

#ifdef __linux__
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// sched_setattr(2), as of Linux 3.14; the C library of Debian 12 does not declare it.
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static const int niceness = 10;
// Its slice: a thread that has begun one is not interrupted by ordinary ones before its end (EEVDF, run to parity). Kernels before 6.12 know one
// slice for all, and pass over this.
static const uint64_t slice_nanoseconds = 100000;

void granary_give_way(void) {
    struct attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.size = sizeof attributes;
    attributes.policy = SCHED_OTHER;
    attributes.nice = niceness;
    attributes.runtime = slice_nanoseconds;
    // In both, 0 is the calling thread.
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) (void)setpriority(PRIO_PROCESS, 0, niceness);
}
#else
void granary_give_way(void) {}
#endif
