/* The options --qpu and --qpu-mode: their table, grammar and values. */
#ifndef OPENQSE_OPTIONS_H
#define OPENQSE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include <slurm/spank.h>

#define QPU_VALUE_MAX 1024 /* bytes of a --qpu value */
#define QPU_ITEMS_MAX 32
#define QPU_NAME_MAX 32
#define QPU_SLOTS_MAX 65535

struct options {
	bool qpu_given;
	bool mode_given;
	char qpu[QPU_VALUE_MAX + 1];
	const char *mode; /* "shared" or "exclusive", never NULL */
	char error[2048]; /* what was malformed; empty if nothing */
};

/* Registers the options. Returns 0, or -1 after logging. */
int options_register(spank_t sp);

/* What was given so far; a later option of the same name wins, as everywhere in Slurm. */
const struct options *options_given(void);

/* Whether the job was submitted with --qpu; for prolog and epilog, where nothing is registered. */
bool options_job_has_qpu(spank_t sp);

/*
 * Checks a QPU list (NAME[:SLOTS][,...]). `origin` says where it was written: "--qpu".
 * Returns 0, or -1 with one line in `why` that says what is allowed.
 */
int options_check_qpu(const char *origin, const char *value, char *why, size_t why_size);

/* Returns the mode's own constant ("shared", "exclusive"), or NULL with a line in `why`. */
const char *options_check_mode(const char *origin, const char *value, char *why, size_t why_size);

#endif
