import type {
  AttemptResult,
  FailureReason,
  FaultCause,
  PolicyRefusal,
  Usage,
} from '@inference-server/contracts';

/** How an attempt ended, but for its log. */
export type Outcome =
  | { kind: 'finished'; outputSha256: string; detail: string; exitCode: number }
  | { kind: 'failed'; reason: FailureReason; detail: string; exitCode: number | null }
  | { kind: 'fault'; cause: FaultCause; detail: string; exitCode: number | null }
  | { kind: 'released' | 'cancelled'; detail: string; exitCode: number | null };

/** The model's own doing. */
export function failed(
  reason: FailureReason,
  detail: string,
  exitCode: number | null = null,
): Outcome {
  return { kind: 'failed', reason, detail, exitCode };
}

/** The operator of this host does not let it run. */
export function notAllowed({ rule, detail }: PolicyRefusal): Outcome {
  return failed('not_allowed', `The policy of this host does not let it run (${rule}): ${detail}`);
}

/** Not the model's doing. */
export function fault(cause: FaultCause, detail: string, exitCode: number | null = null): Outcome {
  return { kind: 'fault', cause, detail, exitCode };
}

export function resultOf(outcome: Outcome, log: string, usage: Usage | undefined): AttemptResult {
  const ended = {
    detail: outcome.detail.replaceAll('\0', '\uFFFD').slice(0, 4000),
    exit_code: outcome.exitCode,
    log,
    ...(usage !== undefined && { usage }),
  };
  switch (outcome.kind) {
    case 'finished':
      return { kind: 'finished', output_sha256: outcome.outputSha256, ...ended };
    case 'failed':
      return { kind: 'failed', reason: outcome.reason, ...ended };
    case 'fault':
      return { kind: 'fault', cause: outcome.cause, ...ended };
    case 'released':
    case 'cancelled':
      return { kind: outcome.kind, ...ended };
  }
}
