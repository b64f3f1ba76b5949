/* The options --qpu and --qpu-mode: their table, grammar and values. */
#include "options.h"

#include <stdio.h>
#include <string.h>

#include "failure.h"

enum { OPTION_QPU, OPTION_MODE };

static int option_given(int which, const char *value, int remote);

static struct spank_option table[] = {
	{ "qpu", "NAME[:SLOTS][,...]",
	  "[openqse] QPUs the job uses and how many slots of each for the whole job (default 1), "
	  "as in --qpu=emu0 or --qpu=emu0:2,emu1. The job waits until they and the nodes are free.",
	  1, OPTION_QPU, option_given },
	{ "qpu-mode", "shared|exclusive",
	  "[openqse] shared (default): other jobs' tasks may run between this job's; "
	  "exclusive: all slots of each named QPU, nothing runs in between.",
	  1, OPTION_MODE, option_given },
	SPANK_OPTIONS_TABLE_END
};

static struct options given = { .mode = "shared" };

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* An item of the list, not NUL-terminated. */
struct item {
	const char *name;
	int name_length;
	const char *slots; /* NULL: none given */
	int slots_length;
};

static struct item split_item(const char *start, size_t length)
{
	struct item item = { .name = start, .name_length = (int)length };
	const char *colon = memchr(start, ':', length);

	if (colon) {
		item.name_length = (int)(colon - start);
		item.slots = colon + 1;
		item.slots_length = (int)(start + length - item.slots);
	}
	return item;
}

static bool name_is_valid(const struct item *item)
{
	if (!is_letter(item->name[0]))
		return false;
	for (int i = 1; i < item->name_length; i++)
		if (!is_letter(item->name[i]) && !is_digit(item->name[i]) && item->name[i] != '_')
			return false;
	return true;
}

static bool slots_are_valid(const struct item *item)
{
	long slots = 0;

	if (item->slots_length < 1 || item->slots_length > 5 || item->slots[0] == '0')
		return false;
	for (int i = 0; i < item->slots_length; i++) {
		if (!is_digit(item->slots[i]))
			return false;
		slots = slots * 10 + (item->slots[i] - '0');
	}
	return slots <= QPU_SLOTS_MAX;
}

static bool same_name(const struct item *a, const struct item *b)
{
	return a->name_length == b->name_length &&
	       memcmp(a->name, b->name, (size_t)a->name_length) == 0;
}

int options_check_qpu(const char *origin, const char *value, char *why, size_t why_size)
{
	struct item items[QPU_ITEMS_MAX];
	size_t length = strlen(value);
	int count = 0;
	char problem[512];

	if (length == 0) {
		snprintf(why, why_size,
			 "openqse: %s=: name at least one QPU, as in --qpu=emu0 or "
			 "--qpu=emu0:2,emu1",
			 origin);
		return -1;
	}
	if (length > QPU_VALUE_MAX) {
		snprintf(why, why_size, "openqse: %s: the value has %zu bytes, at most %d are allowed",
			 origin, length, QPU_VALUE_MAX);
		return -1;
	}
	if (value[strcspn(value, " \t\r\n\v\f")]) {
		snprintf(problem, sizeof(problem), "blanks are not allowed in the list of QPUs");
		goto fail;
	}
	for (const char *start = value;; start += strcspn(start, ",") + 1) {
		size_t span = strcspn(start, ",");
		struct item item = split_item(start, span);

		if (count == QPU_ITEMS_MAX) {
			snprintf(problem, sizeof(problem), "at most %d QPUs may be named",
				 QPU_ITEMS_MAX);
			goto fail;
		}
		if (span == 0) {
			snprintf(problem, sizeof(problem),
				 "item %d is empty; write NAME[:SLOTS] before and after each comma",
				 count + 1);
			goto fail;
		}
		if (item.name_length == 0) {
			snprintf(problem, sizeof(problem), "item %d has no name before ':'",
				 count + 1);
			goto fail;
		}
		if (item.name_length > QPU_NAME_MAX) {
			snprintf(problem, sizeof(problem),
				 "the name '%.32s...' has %d characters, at most %d are allowed",
				 item.name, item.name_length, QPU_NAME_MAX);
			goto fail;
		}
		if (!name_is_valid(&item)) {
			snprintf(problem, sizeof(problem),
				 "'%.*s' is not the name of a QPU: a letter, then letters, digits "
				 "or underscores",
				 item.name_length, item.name);
			goto fail;
		}
		if (item.slots && !slots_are_valid(&item)) {
			snprintf(problem, sizeof(problem),
				 "slots of '%.*s' must be a whole number from 1 to %d",
				 item.name_length, item.name, QPU_SLOTS_MAX);
			goto fail;
		}
		for (int i = 0; i < count; i++) {
			if (!same_name(&items[i], &item))
				continue;
			snprintf(problem, sizeof(problem),
				 "'%.*s' is named twice; name each QPU once, with all its slots",
				 item.name_length, item.name);
			goto fail;
		}
		items[count++] = item;
		if (start[span] == '\0')
			return 0;
	}

fail:
	snprintf(why, why_size, "openqse: %s=%s: %s", origin, value, problem);
	failure_sanitize(why);
	return -1;
}

const char *options_check_mode(const char *origin, const char *value, char *why, size_t why_size)
{
	if (strcmp(value, "shared") == 0)
		return "shared";
	if (strcmp(value, "exclusive") == 0)
		return "exclusive";
	snprintf(why, why_size, "openqse: %s=%.64s: the mode is 'shared' or 'exclusive'", origin,
		 value);
	failure_sanitize(why);
	return NULL;
}

/*
 * Called by Slurm for each option it finds. In srun, salloc and sbatch a malformed value is
 * refused here, before anything is submitted. In slurmstepd an error return would be logged and
 * forgotten, so there the text is kept for the task to show.
 */
static int option_given(int which, const char *value, int remote)
{
	char why[sizeof(given.error)] = "";

	if (!value)
		value = "";
	if (which == OPTION_QPU) {
		if (options_check_qpu("--qpu", value, why, sizeof(why)) == 0) {
			strcpy(given.qpu, value);
			given.qpu_given = true;
		}
	} else {
		const char *mode = options_check_mode("--qpu-mode", value, why, sizeof(why));

		if (mode) {
			given.mode = mode;
			given.mode_given = true;
		}
	}
	if (!*why)
		return 0;
	if (remote) {
		strcpy(given.error, why);
		return 0;
	}
	slurm_error("%s", why);
	return -1;
}

int options_register(spank_t sp)
{
	for (struct spank_option *option = table; option->name; option++) {
		spank_err_t rc = spank_option_register(sp, option);

		if (rc != ESPANK_SUCCESS) {
			slurm_error("openqse: cannot register --%s: %s", option->name,
				    spank_strerror(rc));
			return -1;
		}
	}
	return 0;
}

const struct options *options_given(void)
{
	return &given;
}

bool options_job_has_qpu(spank_t sp)
{
	char *value = NULL;

	return spank_option_getopt(sp, &table[OPTION_QPU], &value) == ESPANK_SUCCESS;
}
