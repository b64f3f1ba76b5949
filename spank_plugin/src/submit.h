/* What happens in srun, salloc and sbatch: no network, no socket. */
#ifndef OPENQSE_SUBMIT_H
#define OPENQSE_SUBMIT_H

#include <slurm/spank.h>

/*
 * Called before Slurm reads options. If a new job is about to be asked for from within another
 * job, removes what that job's use of QPUs left in the environment.
 */
void submit_forget_other_job(spank_t sp);

/*
 * Called after the options of a job, or of one component of it, were read.
 * Returns 0, or -1 after telling the user what is wrong.
 */
int submit_check_options(void);

#endif
