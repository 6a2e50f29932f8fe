/* subject.h - what the parts of the subject's runtime share. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include <stddef.h>

#include "../proto.h"

/* What one scenario process works with; the same in what it forks. */
struct scenario_state {
    int channel;
    struct area *area;
    struct made *made;
    const unsigned char *parcel;
    size_t parcel_bytes;
    int shared_fds[PARCEL_FDS]; /* of what was handed over, by index */
};
extern struct scenario_state scenario_state;

/* Runs the scenario in this process, with these descriptors (FIXED_FDS, then
 * nfds handed over ones), and ends the process. */
_Noreturn void scenario_main(const struct request *req, const int *fds);

/* Runs the tool argv[2], if argv[1] says so, and ends the process. */
void tool_main(int argc, char **argv);

#endif
