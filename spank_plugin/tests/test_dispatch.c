/* The plugin as Slurm calls it, in each of Slurm's programs. */
#include <sys/stat.h>

#include <slurm/slurm.h>

#include "check.h"
#include "mock.h"
#include "options.h"

#define OK                                                                        \
	"VERSION=1\0STATUS=ok\0SET=OPENQSE_JOB_ID=7\0SET=OPENQSE_QPUS=emu0:2\0"   \
	"SET=emu0_QRMI_JOB_ACQUISITION_TOKEN=l-1\0SET=OPENQSE_SOCKET=/s\0"        \
	"ELAPSED_US=1234\0\0"
#define NO                                                          \
	"VERSION=1\0STATUS=error\0LAYER=QPU agent\0"                \
	"MESSAGE=job 7 holds 1 slot of emu0, not 9\0"               \
	"REMEDY=Ask for at most 1\0\0"

static struct agent agent = { ANSWERS(OK) };

/* slurmstepd of step 3 of job 7, up to the options. */
static void start_step(void)
{
	mock.context = S_CTX_REMOTE;
	mock.job_id = 7;
	mock.step_id = 3;
	mock.uid = 1000;
	mock.gid = 1001;
	mock.restart_count = 2;
	agent_start(&agent);
	CHECK(mock_init_with_socket(agent.path, "1") == 0);
}

static void finish_step(void)
{
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	agent_stop(&agent);
}

static int start_task(int task)
{
	mock.task_id = task;
	return slurm_spank_task_init(NULL, 0, NULL);
}

/* The value of a record of the request the agent got. */
static const char *asked(const char *key)
{
	size_t length = strlen(key);
	const char *record = agent.request;

	while (*record) {
		if (strncmp(record, key, length) == 0 && record[length] == '=')
			return record + length + 1;
		record += strlen(record) + 1;
	}
	return NULL;
}

static void epilog(void)
{
	char argument[128];
	char *arguments[] = { argument };

	mock.context = S_CTX_JOB_SCRIPT;
	mock.job_id = 7;
	snprintf(argument, sizeof(argument), "socket=%s", agent.path);
	CHECK(slurm_spank_job_epilog(NULL, 1, arguments) == 0);
}

/* srun, salloc, sbatch */

static void clear_job_environment(void)
{
	unsetenv("SLURM_JOB_ID");
	unsetenv("SLURM_JOBID");
	unsetenv("OPENQSE_QPUS");
	unsetenv("OPENQSE_JOB_ID");
}

static void begin_submission(spank_context_t context)
{
	clear_job_environment();
	mock.context = context;
	CHECK(mock_init() == 0);
	CHECK(mock.registered == 2);
}

static void commands_refuse_a_malformed_option(void)
{
	begin_submission(S_CTX_LOCAL);
	CHECK(mock_option("qpu", "emu0:0", false) == -1);
	CHECK_STR(mock.log,
		  "openqse: --qpu=emu0:0: slots of 'emu0' must be a whole number from 1 to 65535\n");
	CHECK(mock_option("qpu-mode", "mine", false) == -1);
	CHECK_HAS(mock.log, "openqse: --qpu-mode=mine: the mode is 'shared' or 'exclusive'\n");
	CHECK(mock_option("qpu", NULL, false) == -1);
}

static void commands_refuse_a_mode_without_qpus(void)
{
	begin_submission(S_CTX_ALLOCATOR);
	CHECK(mock_option("qpu-mode", "exclusive", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == -1);
	CHECK_HAS(mock.log, "openqse: --qpu-mode=exclusive: name the QPUs too");
	CHECK(mock_option("qpu", "emu0", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
}

static void the_last_option_wins(void)
{
	begin_submission(S_CTX_ALLOCATOR);
	CHECK(mock_option("qpu", "emu0:4", false) == 0);
	CHECK(mock_option("qpu", "emu1", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK_STR(getenv("OPENQSE_QPUS"), "emu1");
	CHECK_STR(getenv("OPENQSE_QPU_MODE"), "shared");
}

static void a_heterogeneous_job_names_its_qpus_first(void)
{
	begin_submission(S_CTX_ALLOCATOR);
	CHECK(mock_option("qpu", "emu0", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(mock_option("qpu", "emu0", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(mock_option("qpu", "emu1", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == -1);
	CHECK_STR(mock.log, "openqse: --qpu=emu1: the QPUs of a heterogeneous job belong to all of "
			    "it; name them, and --qpu-mode, with its first component\n");
}

static void a_later_component_cannot_be_the_first_with_qpus(void)
{
	begin_submission(S_CTX_LOCAL);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(mock_option("qpu", "emu0", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == -1);
}

static void a_later_component_cannot_change_the_mode(void)
{
	begin_submission(S_CTX_LOCAL);
	CHECK(mock_option("qpu", "emu0", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(mock_option("qpu-mode", "exclusive", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == -1);
}

static void srun_leaves_no_hint(void)
{
	begin_submission(S_CTX_LOCAL);
	CHECK(mock_option("qpu", "emu0", false) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(!getenv("OPENQSE_QPUS"));
}

static const char *const traces[] = {
	"OPENQSE_QPUS", "OPENQSE_JOB_ID", "OPENQSE_SOCKET", "OPENQSE_SHIM_US", "QRMI_JOB_ID",
	"QRMI_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_RESOURCES", "SLURM_JOB_QPU_TYPES",
	"emu0_QRMI_JOB_ACQUISITION_TOKEN", "emu0_QRMI_JOB_TIMEOUT_SECONDS",
	"_SLURM_SPANK_OPTION_openqse_qpu", "SLURM_SPANK__SLURM_SPANK_OPTION_openqse_qpu",
	"SLURM_SPANK__SLURM_SPANK_OPTION_openqse_qpu_mode",
};

/* The environment within a job, or with its id taken out; returns how many traces stay. */
static size_t traces_left(spank_context_t context, const char *job_id)
{
	size_t left = 0;

	clear_job_environment();
	for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++)
		CHECK(setenv(traces[i], "x", 1) == 0);
	CHECK(setenv("emu0_QRMI_ENDPOINT", "mine", 1) == 0);
	CHECK(setenv("SLURM_JOB_NAME", "mine", 1) == 0);
	if (job_id)
		CHECK(setenv("SLURM_JOB_ID", job_id, 1) == 0);
	mock.context = context;
	CHECK(mock_init() == 0);
	for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++)
		left += getenv(traces[i]) != NULL;
	CHECK_STR(getenv("emu0_QRMI_ENDPOINT"), "mine");
	CHECK_STR(getenv("SLURM_JOB_NAME"), "mine");
	return left;
}

static void sbatch_in_a_job_forgets_its_qpus(void)
{
	CHECK(traces_left(S_CTX_ALLOCATOR, "7") == 0);
	CHECK(mock.control_unset == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(!getenv("OPENQSE_QPUS"));
}

static void srun_in_a_job_keeps_its_qpus(void)
{
	CHECK(traces_left(S_CTX_LOCAL, "7") == sizeof(traces) / sizeof(traces[0]));
	CHECK(mock.control_unset == 0);
}

static void srun_with_its_own_allocation_forgets_another_jobs_qpus(void)
{
	CHECK(traces_left(S_CTX_LOCAL, NULL) == 0);
	CHECK(mock.control_unset == 2);
}

static void outside_of_jobs_the_environment_is_the_users(void)
{
	clear_job_environment();
	CHECK(setenv("SLURM_SPANK__SLURM_SPANK_OPTION_openqse_qpu", "emu0", 1) == 0);
	CHECK(setenv("OPENQSE_MINE", "x", 1) == 0);
	mock.context = S_CTX_ALLOCATOR;
	CHECK(mock_init() == 0);
	CHECK_STR(getenv("SLURM_SPANK__SLURM_SPANK_OPTION_openqse_qpu"), "emu0");
	CHECK_STR(getenv("OPENQSE_MINE"), "x");
}

/* slurmstepd */

static void a_step_without_qpus_opens_no_socket(void)
{
	start_step();
	finish_step();
	CHECK(agent.connections == 0);
	CHECK(start_task(0) == 0);
	CHECK(!mock_env("OPENQSE_SHIM_US"));
	CHECK_STR(mock.log, "");
}

static void a_step_with_qpus_attaches(void)
{
	static const char request[] =
		"VERSION=1\0OP=attach\0JOB_ID=7\0STEP_ID=3\0UID=1000\0GID=1001\0RESTART_COUNT=2\0"
		"QPU=emu0:2\0MODE=exclusive\0";

	mock_env_set("OPENQSE_SOCKET", "/another");
	start_step();
	CHECK(mock_option("qpu", "emu0:2", true) == 0);
	CHECK(mock_option("qpu-mode", "exclusive", true) == 0);
	finish_step();
	CHECK(agent.request_size == sizeof(request));
	CHECK(memcmp(agent.request, request, sizeof(request)) == 0);
	CHECK_STR(mock_env("OPENQSE_JOB_ID"), "7");
	CHECK_STR(mock_env("OPENQSE_QPUS"), "emu0:2");
	CHECK_STR(mock_env("OPENQSE_QPU_MODE"), "exclusive");
	CHECK_STR(mock_env("OPENQSE_SOCKET"), "/s");
	CHECK_STR(mock_env("emu0_QRMI_JOB_ACQUISITION_TOKEN"), "l-1");
	CHECK_STR(mock_env("OPENQSE_AGENT_US"), "1234");
	CHECK(atol(mock_env("OPENQSE_SHIM_US")) > 0);
	CHECK(start_task(0) == 0);
	CHECK_STR(mock.log, "");
}

static void a_refused_step_fails_in_its_tasks_and_is_told_once(void)
{
	agent = (struct agent){ ANSWERS(NO) };
	start_step();
	CHECK(mock_option("qpu", "emu0:9", true) == 0);
	finish_step();
	CHECK_STR(mock.log, "");
	CHECK(start_task(1) == -1);
	CHECK_STR(mock.log, "");
	CHECK(start_task(0) == -1);
	CHECK(start_task(2) == -1);
	CHECK_STR(mock.log, "openqse: QPU agent: job 7 holds 1 slot of emu0, not 9. "
			    "Ask for at most 1.\n");
	CHECK(!mock_env("OPENQSE_SHIM_US"));
}

static void a_step_fails_if_its_agent_does_not_run(void)
{
	mock.context = S_CTX_REMOTE;
	CHECK(mock_init_with_socket("/nonexistent/node.sock", "1") == 0);
	CHECK(mock_option("qpu", "emu0", true) == 0);
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	CHECK(start_task(0) == -1);
	CHECK_HAS(mock.log, "openqse: node agent on ");
	CHECK_HAS(mock.log, ": not running, nobody listens at /nonexistent/node.sock. Ask the "
			    "administrator to start openqse-node-agent on this node.\n");
}

static void a_malformed_option_fails_the_step_without_a_question(void)
{
	start_step();
	CHECK(mock_option("qpu", "emu0,emu0", true) == 0);
	finish_step();
	CHECK(agent.connections == 0);
	CHECK(start_task(0) == -1);
	CHECK_STR(mock.log, "openqse: --qpu=emu0,emu0: 'emu0' is named twice; name each QPU once, "
			    "with all its slots\n");
}

static void a_step_fails_if_its_environment_cannot_be_set(void)
{
	mock.no_setenv = true;
	start_step();
	CHECK(mock_option("qpu", "emu0", true) == 0);
	finish_step();
	CHECK(start_task(0) == -1);
	CHECK_HAS(mock.log, "openqse: slurmstepd: cannot set OPENQSE_JOB_ID in the tasks' environment");
}

static void a_step_fails_if_slurm_does_not_tell_its_job(void)
{
	mock.no_items = true;
	start_step();
	CHECK(mock_option("qpu", "emu0", true) == 0);
	finish_step();
	CHECK(agent.connections == 0);
	CHECK(start_task(0) == -1);
	CHECK_HAS(mock.log, "openqse: slurmstepd: Slurm did not provide S_JOB_ID");
}

static void a_step_without_qpus_needs_nothing_of_slurm(void)
{
	mock.no_items = true;
	start_step();
	finish_step();
	CHECK(start_task(0) == 0);
}

static void a_step_attaches_by_the_hint_of_its_own_job(void)
{
	mock_env_set("OPENQSE_QPUS", "emu0,emu1:3");
	mock_env_set("OPENQSE_JOB_ID", "7");
	mock_env_set("OPENQSE_QPU_MODE", "exclusive");
	start_step();
	finish_step();
	CHECK_STR(asked("QPU"), "emu0,emu1:3");
	CHECK_STR(asked("MODE"), "exclusive");
}

static void a_step_attaches_by_a_hint_without_a_job(void)
{
	mock_env_set("OPENQSE_QPUS", "emu0");
	mock_env_set("OPENQSE_QPU_MODE", "nonsense");
	start_step();
	finish_step();
	CHECK_STR(asked("QPU"), "emu0");
	CHECK_STR(asked("MODE"), "shared");
}

static void a_steps_own_option_goes_before_the_hint(void)
{
	mock_env_set("OPENQSE_QPUS", "emu0:4");
	start_step();
	CHECK(mock_option("qpu", "emu1", true) == 0);
	finish_step();
	CHECK_STR(asked("QPU"), "emu1");
}

static void a_hint_of_another_job_counts_for_nothing(void)
{
	static const char *const ids[] = { "8", "", "07", "7x", "123456789012345678901234567890" };

	mock_env_set("OPENQSE_QPUS", "emu0");
	start_step();
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		mock_env_set("OPENQSE_JOB_ID", ids[i]);
		CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	}
	finish_step();
	CHECK(agent.connections == 0);
	CHECK(start_task(0) == 0);
}

static void a_hint_that_is_none_counts_for_nothing(void)
{
	static char large[QPU_VALUE_MAX + 2];

	start_step();
	mock_env_set("OPENQSE_QPUS", "");
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	mock_env_set("OPENQSE_QPUS", "yes please");
	CHECK(slurm_spank_init_post_opt(NULL, 0, NULL) == 0);
	memset(large, 'a', sizeof(large) - 1);
	mock_env_set("OPENQSE_QPUS", large);
	finish_step();
	CHECK(agent.connections == 0);
	CHECK(start_task(0) == 0);
}

static void the_extern_step_does_not_attach(void)
{
	start_step();
	mock.step_id = SLURM_EXTERN_CONT;
	CHECK(mock_option("qpu", "emu0", true) == 0);
	finish_step();
	CHECK(agent.connections == 0);
	CHECK(start_task(0) == 0);
}

static void batch_and_interactive_steps_attach(void)
{
	start_step();
	mock.step_id = SLURM_INTERACTIVE_STEP;
	CHECK(mock_option("qpu", "emu0", true) == 0);
	finish_step();
	CHECK_STR(asked("STEP_ID"), "4294967290");
	memset(agent.request, 0, sizeof(agent.request));
	agent.request_size = 0;
	start_step();
	mock.step_id = SLURM_BATCH_SCRIPT;
	finish_step();
	CHECK_STR(asked("STEP_ID"), "4294967291");
}

/* epilog */

static void a_job_without_qpus_is_not_detached(void)
{
	agent_start(&agent);
	epilog();
	agent_stop(&agent);
	CHECK(agent.connections == 0);
	CHECK_STR(mock.log, "");
}

static void a_job_with_qpus_is_detached(void)
{
	static const char request[] = "VERSION=1\0OP=detach\0JOB_ID=7\0";

	mock.epilog_qpu = "emu0";
	agent_start(&agent);
	epilog();
	agent_stop(&agent);
	CHECK(agent.request_size == sizeof(request));
	CHECK(memcmp(agent.request, request, sizeof(request)) == 0);
	CHECK_STR(mock.log, "");
}

static void a_job_whose_directory_is_there_is_detached(void)
{
	char path[128];

	agent_start(&agent);
	snprintf(path, sizeof(path), "%s/job-7", agent.directory);
	CHECK(mkdir(path, 0700) == 0);
	epilog();
	CHECK(rmdir(path) == 0);
	agent_stop(&agent);
	CHECK_STR(asked("OP"), "detach");
}

static void what_is_no_directory_does_not_detach(void)
{
	char path[128];

	agent_start(&agent);
	snprintf(path, sizeof(path), "%s/job-7", agent.directory);
	CHECK(symlink("/", path) == 0);
	epilog();
	CHECK(unlink(path) == 0);
	agent_stop(&agent);
	CHECK(agent.connections == 0);
}

static void a_failed_detach_is_logged_and_no_more(void)
{
	mock.epilog_qpu = "emu0";
	agent = (struct agent){ ANSWERS(NO) };
	agent_start(&agent);
	epilog();
	agent_stop(&agent);
	CHECK_HAS(mock.log, "openqse: QPU agent: job 7 holds");
	CHECK_HAS(mock.log, "(epilog of job 7; its leases end by their TTL)\n");
	mock.log[0] = '\0';
	epilog();
	CHECK_HAS(mock.log, "not running, nobody listens at");
	mock.log[0] = '\0';
	mock.no_items = true;
	epilog();
	CHECK_HAS(mock.log, "Slurm did not provide the job id");
}

/* slurmd */

static void slurmd_only_checks_the_configuration(void)
{
	char *arguments[] = { (char[]){ "colour=blue" } };

	mock.context = S_CTX_SLURMD;
	CHECK(slurm_spank_init(NULL, 1, arguments) == 0);
	CHECK(mock.registered == 0);
	CHECK_HAS(mock.log, "unknown argument 'colour=blue'");
	CHECK(slurm_spank_init_failure_mode == ESPANK_JOB_FAILURE);
}

static void an_unknown_argument_disables_nothing(void)
{
	char path[128];
	char *arguments[] = { (char[]){ "colour=blue" }, path };

	mock.context = S_CTX_REMOTE;
	agent_start(&agent);
	snprintf(path, sizeof(path), "socket=%s", agent.path);
	CHECK(slurm_spank_init(NULL, 2, arguments) == 0);
	CHECK(mock_option("qpu", "emu0", true) == 0);
	finish_step();
	CHECK_STR(asked("OP"), "attach");
	CHECK(start_task(0) == 0);
}

int main(void)
{
	static const struct test tests[] = {
		TEST(commands_refuse_a_malformed_option),
		TEST(commands_refuse_a_mode_without_qpus),
		TEST(the_last_option_wins),
		TEST(a_heterogeneous_job_names_its_qpus_first),
		TEST(a_later_component_cannot_be_the_first_with_qpus),
		TEST(a_later_component_cannot_change_the_mode),
		TEST(srun_leaves_no_hint),
		TEST(sbatch_in_a_job_forgets_its_qpus),
		TEST(srun_in_a_job_keeps_its_qpus),
		TEST(srun_with_its_own_allocation_forgets_another_jobs_qpus),
		TEST(outside_of_jobs_the_environment_is_the_users),
		TEST(a_step_without_qpus_opens_no_socket),
		TEST(a_step_with_qpus_attaches),
		TEST(a_refused_step_fails_in_its_tasks_and_is_told_once),
		TEST(a_step_fails_if_its_agent_does_not_run),
		TEST(a_malformed_option_fails_the_step_without_a_question),
		TEST(a_step_fails_if_its_environment_cannot_be_set),
		TEST(a_step_fails_if_slurm_does_not_tell_its_job),
		TEST(a_step_without_qpus_needs_nothing_of_slurm),
		TEST(a_step_attaches_by_the_hint_of_its_own_job),
		TEST(a_step_attaches_by_a_hint_without_a_job),
		TEST(a_steps_own_option_goes_before_the_hint),
		TEST(a_hint_of_another_job_counts_for_nothing),
		TEST(a_hint_that_is_none_counts_for_nothing),
		TEST(the_extern_step_does_not_attach),
		TEST(batch_and_interactive_steps_attach),
		TEST(a_job_without_qpus_is_not_detached),
		TEST(a_job_with_qpus_is_detached),
		TEST(a_job_whose_directory_is_there_is_detached),
		TEST(what_is_no_directory_does_not_detach),
		TEST(a_failed_detach_is_logged_and_no_more),
		TEST(slurmd_only_checks_the_configuration),
		TEST(an_unknown_argument_disables_nothing),
	};

	return run_tests("dispatch", tests, sizeof(tests) / sizeof(tests[0]));
}
