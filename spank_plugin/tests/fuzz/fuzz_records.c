/* An answer of any bytes: it is refused with a reason, or read and walked to its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of exactly that size, so that a byte too far is an error. */
	char *bytes = malloc(size ? size : 1);
	struct answer answer;
	char why[160] = "";
	size_t length;

	must(bytes != NULL);
	memcpy(bytes, data, size);
	/* As it arrives, piece by piece: once its end is there it stays where it is. */
	length = block_length(bytes, size);
	must(length <= size);
	must(length == 0 || (block_length(bytes, length) == length &&
			     block_length(bytes, length - 1) == 0));

	if (answer_read(bytes, size, &answer, why, sizeof(why)) == 0) {
		char name[HOOK_NAME_MAX + 1];
		const char *value;
		size_t position = 0;

		must(length == size);
		must(answer.ok || (answer.layer && answer.message && answer.remedy));
		while ((value = answer_next_set(bytes, size, &position, name))) {
			must(value > bytes && value + strlen(value) < bytes + size);
			/* Names that no program beside ours gives a meaning to. */
			must(strncmp(name, "OPENQSE_", 8) == 0 || strstr(name, "QRMI_JOB_") ||
			     strncmp(name, "SLURM_JOB_QPU_", 14) == 0);
			must(!strchr(name, '='));
		}
		must(position < size);
	} else {
		must(why[0] != '\0');
	}
	free(bytes);
	return 0;
}
