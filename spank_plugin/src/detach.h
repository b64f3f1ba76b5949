/* The job's epilog on each node: the job's leases end, its directory goes. */
#ifndef OPENQSE_DETACH_H
#define OPENQSE_DETACH_H

#include "exchange.h"

#include <slurm/spank.h>

/* Detaches a job that may have attached on this node; what fails is logged. */
void detach(spank_t sp, const struct hook *hook);

#endif
