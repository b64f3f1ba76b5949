/* slurmstepd, as root, before the tasks: the step joins its job's leases. */
#include "attach.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <slurm/slurm.h>

#include "options.h"

static const char layer[] = "slurmstepd";

/* Kept from init_post_opt, where an error return could drain the node, to task_init. */
static struct failure failure;

struct request {
	uint32_t job_id;
	uint32_t step_id;
	uid_t uid;
	gid_t gid;
	uint32_t restart_count;
	char qpu[QPU_VALUE_MAX + 1];
	const char *mode;
};

/*
 * Reads what Slurm says of the step.
 *
 * In a heterogeneous job S_JOB_ID is the component's own job id: slurmstepd fills it from the
 * launch message's step id and keeps the leader's id apart, for SLURM_JOB_ID in the tasks. The
 * licenses are the leader's, whose id SPANK does not provide; slurmctld, which is asked anyway,
 * tells it of each component. The epilog on a component's nodes knows the same id as this.
 * S_SLURM_RESTART_COUNT exists everywhere, but no slurmstepd from 22.05 to 26.05 fills it: it
 * is 0 after a requeue too. SLURM_RESTART_COUNT in the environment is the user's to change.
 */
static int read_step(spank_t sp, struct request *request)
{
	const struct {
		spank_item_t item;
		const char *name;
		void *value;
	} wanted[] = {
		{ S_JOB_ID, "S_JOB_ID", &request->job_id },
		{ S_JOB_STEPID, "S_JOB_STEPID", &request->step_id },
		{ S_JOB_UID, "S_JOB_UID", &request->uid },
		{ S_JOB_GID, "S_JOB_GID", &request->gid },
		{ S_SLURM_RESTART_COUNT, "S_SLURM_RESTART_COUNT", &request->restart_count },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		spank_err_t rc = spank_get_item(sp, wanted[i].item, wanted[i].value);

		if (rc != ESPANK_SUCCESS) {
			failure_set(&failure, layer,
				    "Report this with the versions of Slurm and openQSE",
				    "Slurm did not provide %s: %s", wanted[i].name,
				    spank_strerror(rc));
			return -1;
		}
	}
	return 0;
}

/* Whether the environment carries a request that is this job's own, and which. */
static bool read_hint(spank_t sp, struct request *request)
{
	char value[QPU_VALUE_MAX + 1];
	char job_id[16];
	char own_id[16];
	char why[2048];
	spank_err_t rc;

	if (spank_getenv(sp, "OPENQSE_QPUS", value, sizeof(value)) != ESPANK_SUCCESS ||
	    options_check_qpu("OPENQSE_QPUS", value, why, sizeof(why)) < 0)
		return false;
	snprintf(own_id, sizeof(own_id), "%u", request->job_id);
	rc = spank_getenv(sp, "OPENQSE_JOB_ID", job_id, sizeof(job_id));
	if (rc != ESPANK_ENV_NOEXIST && (rc != ESPANK_SUCCESS || strcmp(job_id, own_id) != 0))
		return false;
	strcpy(request->qpu, value);
	if (spank_getenv(sp, "OPENQSE_QPU_MODE", value, sizeof(value)) == ESPANK_SUCCESS) {
		const char *mode =
			options_check_mode("OPENQSE_QPU_MODE", value, why, sizeof(why));

		if (mode)
			request->mode = mode;
	}
	return true;
}

/*
 * Whether the step uses QPUs, and which. An environment is a hint at most: the QPU agent asks
 * slurmctld what the job holds.
 */
static bool choose_qpus(spank_t sp, struct request *request)
{
	const struct options *options = options_given();

	request->mode = options->mode;
	if (!options->qpu_given)
		return read_hint(sp, request);
	strcpy(request->qpu, options->qpu);
	return true;
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int set_variable(spank_t sp, const char *name, const char *value)
{
	spank_err_t rc = spank_setenv(sp, name, value, 1);

	if (rc == ESPANK_SUCCESS)
		return 0;
	failure_set(&failure, layer, "Report this with the versions of Slurm and openQSE",
		    "cannot set %s in the tasks' environment: %s", name, spank_strerror(rc));
	return -1;
}

void attach(spank_t sp, const struct hook *hook)
{
	struct request request = { 0 };
	struct block *blocks = NULL; /* the request's and the answer's */
	struct answer answer;
	char name[HOOK_NAME_MAX + 1];
	char shim_us[24];
	const char *value;
	size_t position = 0;
	int64_t start;

	if (*options_given()->error) {
		snprintf(failure.text, sizeof(failure.text), "%s", options_given()->error);
		return;
	}
	if (read_step(sp, &request) < 0) {
		/* Without --qpu nothing was needed of it. */
		if (!options_given()->qpu_given)
			failure.text[0] = '\0';
		return;
	}
	/* The extern step only holds the job's place on the node. The step of an interactive
	 * salloc has an id of that kind too, but in it runs the user's shell. */
	if (request.step_id == SLURM_EXTERN_CONT)
		return;
	if (!choose_qpus(sp, &request))
		return;

	start = now_us();
	blocks = calloc(2, sizeof(*blocks));
	if (!blocks) {
		failure_set(&failure, layer, "Ask for more memory", "out of memory");
		return;
	}
	block_add(&blocks[0], "VERSION", "%s", HOOK_VERSION);
	block_add(&blocks[0], "OP", "attach");
	block_add(&blocks[0], "JOB_ID", "%u", request.job_id);
	block_add(&blocks[0], "STEP_ID", "%u", request.step_id);
	block_add(&blocks[0], "UID", "%u", (unsigned)request.uid);
	block_add(&blocks[0], "GID", "%u", (unsigned)request.gid);
	block_add(&blocks[0], "RESTART_COUNT", "%u", request.restart_count);
	block_add(&blocks[0], "QPU", "%s", request.qpu);
	block_add(&blocks[0], "MODE", "%s", request.mode);
	if (block_end(&blocks[0]) < 0) {
		failure_set(&failure, layer, "Name fewer QPUs", "the request is too long");
		goto fail;
	}
	if (exchange(hook, &blocks[0], &blocks[1], &answer, &failure) < 0)
		goto fail;
	while ((value = answer_next_set(blocks[1].bytes, blocks[1].used, &position, name)))
		if (set_variable(sp, name, value) < 0)
			goto fail;
	if (set_variable(sp, "OPENQSE_QPU_MODE", request.mode) < 0)
		goto fail;
	if (answer.elapsed_us && set_variable(sp, "OPENQSE_AGENT_US", answer.elapsed_us) < 0)
		goto fail;
	snprintf(shim_us, sizeof(shim_us), "%lld", (long long)(now_us() - start));
	set_variable(sp, "OPENQSE_SHIM_US", shim_us);

fail:
	free(blocks);
}

int attach_report(spank_t sp)
{
	int task = 0;

	if (!*failure.text)
		return 0;
	/* If Slurm cannot say which task this is, rather twice than never. */
	if (spank_get_item(sp, S_TASK_ID, &task) != ESPANK_SUCCESS || task == 0)
		slurm_error("%s", failure.text);
	return -1;
}
