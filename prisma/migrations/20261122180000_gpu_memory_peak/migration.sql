-- AlterTable: what the runs of a model were seen to take of a GPU.
ALTER TABLE "model_versions" ADD COLUMN "gpu_memory_peak_mib" INTEGER;
