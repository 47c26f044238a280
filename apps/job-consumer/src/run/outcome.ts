import type { AttemptResult, FailureReason } from '@inference-server/contracts';

/** How an attempt ended, but for its log. */
export type Outcome =
  | { kind: 'finished'; outputSha256: string; detail: string; exitCode: number }
  | { kind: 'failed'; reason: FailureReason; detail: string; exitCode: number | null }
  | { kind: 'fault' | 'released'; detail: string; exitCode: number | null };

/** The model's own doing, which is final. */
export function failed(
  reason: FailureReason,
  detail: string,
  exitCode: number | null = null,
): Outcome {
  return { kind: 'failed', reason, detail, exitCode };
}

/** Ours: engine, network, disk. */
export function fault(detail: string, exitCode: number | null = null): Outcome {
  return { kind: 'fault', detail, exitCode };
}

export function resultOf(outcome: Outcome, log: string): AttemptResult {
  const ended = {
    detail: outcome.detail.replaceAll('\0', '\uFFFD').slice(0, 4000),
    exit_code: outcome.exitCode,
    log,
  };
  switch (outcome.kind) {
    case 'finished':
      return { kind: 'finished', output_sha256: outcome.outputSha256, ...ended };
    case 'failed':
      return { kind: 'failed', reason: outcome.reason, ...ended };
    case 'fault':
    case 'released':
      return { kind: outcome.kind, ...ended };
  }
}
