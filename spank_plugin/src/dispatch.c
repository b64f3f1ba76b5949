/*
 * The SPANK plugin: which of its parts runs in which of Slurm's programs.
 *
 *   srun, salloc, sbatch   submit.c   options are checked, nothing is sent
 *   slurmstepd             attach.c   the step joins its job's leases, or fails with a reason
 *   epilog, on each node   detach.c   the leases end
 *
 * Nothing here may return an error in a daemon: Slurm would drain the node.
 */
#pragma GCC visibility push(default)
#include <slurm/spank.h>

SPANK_PLUGIN(openqse, 1)

#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
/* Should init fail all the same, it is the job that fails, not the node. */
int slurm_spank_init_failure_mode = ESPANK_JOB_FAILURE;
#endif
#pragma GCC visibility pop

#include "attach.h"
#include "detach.h"
#include "exchange.h"
#include "options.h"
#include "submit.h"

static struct hook hook;

int slurm_spank_init(spank_t sp, int ac, char *av[])
{
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
		submit_forget_other_job(sp);
		return options_register(sp);
	case S_CTX_REMOTE:
		hook_configure(&hook, ac, av);
		options_register(sp);
		return 0;
	case S_CTX_SLURMD: /* an error in plugstack.conf is in the log from the start */
		hook_configure(&hook, ac, av);
		return 0;
	default:
		return 0;
	}
}

int slurm_spank_init_post_opt(spank_t sp, int ac, char *av[])
{
	(void)ac;
	(void)av;
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
		return submit_check_options();
	case S_CTX_REMOTE:
		attach(sp, &hook);
		return 0;
	default:
		return 0;
	}
}

int slurm_spank_task_init(spank_t sp, int ac, char *av[])
{
	(void)ac;
	(void)av;
	return attach_report(sp);
}

/* init is not called in this context, so that spank_option_getopt() can find the job's --qpu. */
int slurm_spank_job_epilog(spank_t sp, int ac, char *av[])
{
	hook_configure(&hook, ac, av);
	detach(sp, &hook);
	return 0;
}
