-- tasks_input_kept_by_model_idx has taken its place.
DROP INDEX "tasks_input_kept_idx";
