/* Feeds a fuzz target without a fuzzer: the given inputs, and mutations of them by a fixed seed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST 4096
#define MUTATIONS 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 20240607;

static size_t random_below(size_t bound)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (size_t)(state % bound);
}

/* One change: a byte set, a run taken out, or a run doubled. Returns the new size. */
static size_t mutate(uint8_t *data, size_t size)
{
	size_t at = random_below(size + 1);
	size_t run = random_below(16) + 1;

	if (run > size - at)
		run = size - at;
	switch (random_below(4)) {
	case 0:
		memmove(data + at, data + at + run, size - at - run);
		return size - run;
	case 1:
		if (size + run > LARGEST)
			return size;
		memmove(data + at + run, data + at, size - at);
		return size + run;
	default:
		if (at < size)
			data[at] = (uint8_t)random_below(256);
		return size;
	}
}

int main(int argc, char *argv[])
{
	uint8_t input[LARGEST];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		uint8_t data[LARGEST];
		size_t whole;

		if (!file) {
			perror(argv[i]);
			return 1;
		}
		whole = fread(input, 1, sizeof(input), file);
		fclose(file);
		LLVMFuzzerTestOneInput(input, whole);
		for (int round = 0; round < MUTATIONS; round++) {
			size_t size = whole;

			memcpy(data, input, whole);
			for (size_t n = random_below(6) + 1; n > 0; n--)
				size = mutate(data, size);
			LLVMFuzzerTestOneInput(data, size);
		}
	}
	printf("%-12s %d inputs, %d mutations of each\n", strrchr(argv[0], '/') + 1, argc - 1,
	       MUTATIONS);
	return 0;
}
