/* The job's epilog on each node: the job's leases end, its directory goes. */
#include "detach.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "options.h"

/* The agent keeps a job's directory beside its socket from attach to detach. */
static bool job_directory_exists(const struct hook *hook, uint32_t job_id)
{
	char path[sizeof(hook->socket) + 32];
	const char *slash = strrchr(hook->socket, '/');
	struct stat status;

	snprintf(path, sizeof(path), "%.*s/job-%u", (int)(slash - hook->socket), hook->socket,
		 job_id);
	return lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

void detach(spank_t sp, const struct hook *hook)
{
	struct block *blocks = NULL; /* the request's and the answer's */
	struct failure failure = { "" };
	struct answer answer;
	uint32_t job_id;
	spank_err_t rc = spank_get_item(sp, S_JOB_ID, &job_id);

	if (rc != ESPANK_SUCCESS) {
		slurm_error("openqse: epilog: Slurm did not provide the job id: %s",
			    spank_strerror(rc));
		return;
	}
	/* A step may have attached by its own --qpu or by OPENQSE_QPUS: then only the directory tells. */
	if (!options_job_has_qpu(sp) && !job_directory_exists(hook, job_id))
		return;

	blocks = calloc(2, sizeof(*blocks));
	if (!blocks) {
		slurm_error("openqse: epilog of job %u: out of memory, its leases end by their TTL",
			    job_id);
		return;
	}
	block_add(&blocks[0], "VERSION", "%s", HOOK_VERSION);
	block_add(&blocks[0], "OP", "detach");
	block_add(&blocks[0], "JOB_ID", "%u", job_id);
	if (block_end(&blocks[0]) < 0 ||
	    exchange(hook, &blocks[0], &blocks[1], &answer, &failure) < 0)
		slurm_error("%s (epilog of job %u; its leases end by their TTL)", failure.text,
			    job_id);
	free(blocks);
}
