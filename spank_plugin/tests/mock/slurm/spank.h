/* The part of SPANK the plugin uses, for tests without Slurm; mock/spank.c is behind it. */
#ifndef MOCK_SPANK_H
#define MOCK_SPANK_H

#include <slurm/slurm_errno.h>

/* The newest branch, so that what only newer versions know is compiled by the tests too. */
#define SLURM_VERSION_NUM(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define SLURM_VERSION_NUMBER SLURM_VERSION_NUM(26, 5, 0)

typedef struct spank_handle *spank_t;
typedef slurm_err_t spank_err_t;
typedef int(spank_f)(spank_t spank, int ac, char *argv[]);

extern spank_f slurm_spank_init;
extern spank_f slurm_spank_init_post_opt;
extern spank_f slurm_spank_task_init;
extern spank_f slurm_spank_job_epilog;
extern int slurm_spank_init_failure_mode;

typedef enum spank_item {
	S_JOB_UID,
	S_JOB_GID,
	S_JOB_ID,
	S_JOB_STEPID,
	S_TASK_ID,
	S_SLURM_RESTART_COUNT,
} spank_item_t;

typedef enum spank_context {
	S_CTX_ERROR,
	S_CTX_LOCAL,
	S_CTX_REMOTE,
	S_CTX_ALLOCATOR,
	S_CTX_SLURMD,
	S_CTX_JOB_SCRIPT,
} spank_context_t;

typedef int (*spank_opt_cb_f)(int val, const char *optarg, int remote);

struct spank_option {
	char *name;
	char *arginfo;
	char *usage;
	int has_arg;
	int val;
	spank_opt_cb_f cb;
};

#define SPANK_OPTIONS_TABLE_END { NULL, NULL, NULL, 0, 0, NULL }

const char *spank_strerror(spank_err_t err);
spank_context_t spank_context(void);
spank_err_t spank_option_register(spank_t spank, struct spank_option *opt);
spank_err_t spank_option_getopt(spank_t spank, struct spank_option *opt, char **optarg);
spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...);
spank_err_t spank_getenv(spank_t spank, const char *var, char *buf, int len);
spank_err_t spank_setenv(spank_t spank, const char *var, const char *val, int overwrite);
spank_err_t spank_job_control_unsetenv(spank_t spank, const char *var);
void slurm_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define SPANK_PLUGIN(name, version)                           \
	const char plugin_name[] = #name;                     \
	const char plugin_type[] = "spank";                   \
	const unsigned int plugin_version = SLURM_VERSION_NUMBER; \
	const unsigned int spank_plugin_version = version;

#endif
