/*
 * again.c - from one scenario to the next in the same process (under Valgrind).
 *
 * What the judge can see from outside (descriptors, shared mappings, children)
 * it has looked for.  Here is looked for the rest of what one scenario could
 * leave to the next; then all variables become what they were at the start.
 */
#include <link.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <valgrind/memcheck.h>

#include "../kit.h"
#include "subject.h"

/* How every process of the fork server begins. */
static struct {
    struct {
        unsigned char *at, *copy;
        size_t size_bytes;
    } memory[2]; /* variables of the program, and of its thread */
    struct rlimit limits[RLIM_NLIMITS];
    mode_t mask;
} begun;

/* Of the program itself, which comes first: what it can write to, less what the
 * dynamic linker has made read-only. */
static int find_memory(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t from = 0, to = 0, read_only = 0;

    (void)size;
    (void)arg;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + p->p_vaddr;

        if (p->p_type == PT_LOAD && (p->p_flags & PF_W) != 0) {
            from = at;
            to = at + p->p_memsz;
        } else if (p->p_type == PT_GNU_RELRO) {
            read_only = at + p->p_memsz;
        } else if (p->p_type == PT_TLS) {
            begun.memory[1].at = info->dlpi_tls_data;
            begun.memory[1].size_bytes = p->p_memsz;
        }
    }
    if (read_only > from && read_only < to)
        from = read_only;
    begun.memory[0].at = (unsigned char *)from;
    begun.memory[0].size_bytes = to - from;
    return 1; /* no other object is of interest */
}

void again_prepare(void)
{
    pthread_atfork(NULL, NULL, scenario_tell_of_child);
    dl_iterate_phdr(find_memory, NULL);
    for (int i = 0; i < RLIM_NLIMITS; i++)
        getrlimit(i, &begun.limits[i]);
    begun.mask = umask(0);
    umask(begun.mask);
    /* Both first: `begun` is in what is copied. */
    for (int i = 0; i < 2; i++)
        begun.memory[i].copy =
            mmap(NULL, begun.memory[i].size_bytes + 1, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 2; i++) {
        if (begun.memory[i].copy == MAP_FAILED)
            _exit(3);
        memcpy(begun.memory[i].copy, begun.memory[i].at,
               begun.memory[i].size_bytes);
    }
}

/* Did the student's code make a call by which it matters that the process ends,
 * or which process it is? */
static bool has_called_for_its_end(void)
{
    const struct area *a = scenario_state.area;
    unsigned n = atomic_load(&a->ncalls);

    for (unsigned i = 0; i < n && i < LOGGED_CALLS; i++)
        if (strncmp(a->calls[i].family, "getpid", NAME_BYTES) == 0)
            return true;
    return n > LOGGED_CALLS || scenario_state.undo != 0;
}

static bool has_timers(void)
{
    struct itimerval t;

    for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++)
        if (getitimer(which, &t) == -1 || t.it_value.tv_sec != 0 ||
            t.it_value.tv_usec != 0)
            return true;
    return atomic_load(&scenario_state.area->timers) != 0;
}

static bool has_signals(void)
{
    sigset_t pending;

    if (sigpending(&pending) == -1)
        return true;
    for (int sig = 1; sig < NSIG; sig++)
        if (sigismember(&pending, sig) == 1)
            return true;
    return false;
}

/* Of robust mutexes that would have a dead owner (get_robust_list(2)). */
static bool has_locks(void)
{
    struct list {
        struct list *next;
    } * head;
    size_t size;

    return syscall(SYS_get_robust_list, 0, &head, &size) == -1 ||
           (head != NULL && head->next != head);
}

static bool has_changed_limits(void)
{
    struct rlimit limit;
    mode_t mask = umask(begun.mask);

    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (getrlimit(i, &limit) == -1 ||
            limit.rlim_cur != begun.limits[i].rlim_cur ||
            limit.rlim_max != begun.limits[i].rlim_max)
            return true;
    return mask != begun.mask;
}

/* Blocks that were not freed: found when the process ends, as this scenario's.
 * Who has had a thread has some (of its thread-local variables). */
static bool has_blocks(void)
{
    unsigned long lost = 0, perhaps = 0, kept = 0, suppressed = 0;

    VALGRIND_DO_QUICK_LEAK_CHECK;
    VALGRIND_COUNT_LEAK_BLOCKS(lost, perhaps, kept, suppressed);
    return lost + perhaps + kept + suppressed != 0;
}

bool again_begin(void)
{
    if (VALGRIND_COUNT_ERRORS != 0 || has_called_for_its_end() ||
        has_timers() || has_signals() || has_locks() || has_changed_limits() ||
        has_blocks())
        return false;
    close_range(FIRST_GIVEN_FD, LAST_LOW_FD, 0);
    scenario_forget_memory();
    for (int i = 0; i < 2; i++)
        memcpy(begun.memory[i].at, begun.memory[i].copy,
               begun.memory[i].size_bytes);
    return true;
}
