-- attempts_log_not_empty_idx has taken its place.
DROP INDEX "attempts_log_kept_idx";
