/* slurmstepd, as root, before the tasks: the step joins its job's leases. */
#ifndef OPENQSE_ATTACH_H
#define OPENQSE_ATTACH_H

#include "exchange.h"

#include <slurm/spank.h>

/* Attaches if the step is one that uses QPUs; what fails is kept for attach_report(). */
void attach(spank_t sp, const struct hook *hook);

/* In each task: returns 0, or -1 after telling the user, once per node, why the step fails. */
int attach_report(spank_t sp);

#endif
