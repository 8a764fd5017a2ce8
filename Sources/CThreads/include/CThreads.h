#ifndef GRANARY_THREADS_H
#define GRANARY_THREADS_H

/// The calling thread, from now on, gets what others leave of a core: a tenth of what an ordinary thread gets when both want the same one, and
/// never more than a tenth of a millisecond at a time, so that whoever wakes up with an answer to give does not wait for it. On Linux; where the
/// system refuses, the work is done a little less politely.
void granary_give_way(void);

#endif
