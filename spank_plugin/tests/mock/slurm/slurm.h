/* The part of slurm.h the plugin uses, for tests without Slurm's headers. */
#ifndef MOCK_SLURM_H
#define MOCK_SLURM_H

#define SLURM_EXTERN_CONT 0xfffffffc
#define SLURM_BATCH_SCRIPT 0xfffffffb
#define SLURM_INTERACTIVE_STEP 0xfffffffa

#endif
