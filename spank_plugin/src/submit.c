/*
 * What happens in srun, salloc and sbatch: no network, no socket.
 *
 * How --qpu travels (read in Slurm's source, 22.05 to 26.05):
 * - to slurmctld: as _SLURM_SPANK_OPTION_openqse_qpu in the job's spank_job_env;
 * - to the epilog: the same, there with SPANK_ before it, which spank_option_getopt() knows;
 * - to the steps of srun: with the launch message, as an option of the step;
 * - to the batch step of sbatch: _SLURM_SPANK_OPTION_openqse_qpu in the job's environment, which
 *   slurmstepd turns into an option of the step and then removes;
 * - to srun inside salloc or sbatch: these export SLURM_SPANK__SLURM_SPANK_OPTION_openqse_qpu,
 *   and srun takes such a variable for an option given to itself: the step has the job's --qpu
 *   unless its own command line says otherwise;
 * - to srun inside a step of an srun that made its own allocation: not at all. For these, and
 *   as a hint that a user can read, there is OPENQSE_QPUS.
 *
 * sbatch and salloc would take the SLURM_SPANK_ variable for their own too, so without a remedy
 * every job submitted from within a QPU job would ask for QPUs as well. Therefore the forgetting.
 *
 * In a heterogeneous job slurmctld takes licenses for the first component only, and the commands
 * carry an option on from one component to all after it, with one value, the last, for the steps
 * of all. So the QPUs are named with the first component and belong to the whole job.
 */
#include "submit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

extern char **environ;

static const char *const option_variables[] = {
	"_SLURM_SPANK_OPTION_openqse_qpu",
	"_SLURM_SPANK_OPTION_openqse_qpu_mode",
};

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Whether the variable says something about one job's use of QPUs. */
static bool belongs_to_a_job(const char *name)
{
	static const char *const prefixes[] = {
		"OPENQSE_",
		"QRMI_JOB_",
		"SLURM_JOB_QPU_",
		"_SLURM_SPANK_OPTION_openqse_",
		"SPANK__SLURM_SPANK_OPTION_openqse_",
		"SLURM_SPANK__SLURM_SPANK_OPTION_openqse_",
	};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (starts_with(name, prefixes[i]))
			return true;
	/* <name of the QPU>_QRMI_JOB_ACQUISITION_TOKEN and the like */
	return strstr(name, "_QRMI_JOB_") != NULL;
}

static bool inside_allocation(void)
{
	return getenv("SLURM_JOB_ID") || getenv("SLURM_JOBID");
}

void submit_forget_other_job(spank_t sp)
{
	char **entry = environ;
	char name[256];

	if (spank_context() == S_CTX_LOCAL && inside_allocation())
		return; /* srun makes a step of this very job */
	/* Outside of any job such variables are the user's own wish; Slurm allows it. */
	if (!inside_allocation() && !getenv("OPENQSE_QPUS") && !getenv("OPENQSE_JOB_ID"))
		return;
	while (entry && *entry) {
		size_t length = strcspn(*entry, "=");

		if (length > 0 && length < sizeof(name)) {
			memcpy(name, *entry, length);
			name[length] = '\0';
			/* unsetenv() moves the entries that follow to this place. */
			if (belongs_to_a_job(name) && unsetenv(name) == 0)
				continue;
		}
		entry++;
	}
	/* srun has copied the SLURM_SPANK_ variables to the new job's before it calls plugins. */
	if (spank_context() == S_CTX_LOCAL)
		for (size_t i = 0; i < sizeof(option_variables) / sizeof(option_variables[0]); i++)
			spank_job_control_unsetenv(sp, option_variables[i]);
}

int submit_check_options(void)
{
	static struct options first; /* component of a heterogeneous job; Slurm calls for each */
	static bool later;
	const struct options *options = options_given();

	if (options->mode_given && !options->qpu_given) {
		slurm_error("openqse: --qpu-mode=%s: name the QPUs too, as in --qpu=emu0 "
			    "--qpu-mode=%s",
			    options->mode, options->mode);
		return -1;
	}
	if (later && (strcmp(options->qpu, first.qpu) != 0 || strcmp(options->mode, first.mode) != 0)) {
		slurm_error("openqse: --qpu=%s: the QPUs of a heterogeneous job belong to all of "
			    "it; name them, and --qpu-mode, with its first component",
			    options->qpu);
		return -1;
	}
	first = *options;
	later = true;
	if (spank_context() != S_CTX_ALLOCATOR || !options->qpu_given)
		return 0;
	if (setenv("OPENQSE_QPUS", options->qpu, 1) < 0 ||
	    setenv("OPENQSE_QPU_MODE", options->mode, 1) < 0) {
		slurm_error("openqse: cannot set OPENQSE_QPUS: %s", strerror(errno));
		return -1;
	}
	return 0;
}
