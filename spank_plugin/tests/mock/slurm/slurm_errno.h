/* The part of Slurm's error codes the plugin uses, for tests without Slurm's headers. */
#ifndef MOCK_SLURM_ERRNO_H
#define MOCK_SLURM_ERRNO_H

#define ESPANK_SUCCESS 0

typedef enum {
	ESPANK_ERROR = 3000,
	ESPANK_BAD_ARG,
	ESPANK_NOT_TASK,
	ESPANK_ENV_EXISTS,
	ESPANK_ENV_NOEXIST,
	ESPANK_NOSPACE,
	ESPANK_NOT_AVAIL = 3009,
	ESPANK_JOB_FAILURE = 3012,
} slurm_err_t;

#endif
