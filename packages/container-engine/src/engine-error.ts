import type { ErrorCode } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

/** What kind of failure an engine call met, and the code it is reported under. */
const codes = {
  /** Nobody answers at the engine's address, or the connection broke. */
  unreachable: 'SERVICE_UNAVAILABLE',
  /** The engine took longer than the call's deadline. */
  overdue: 'SERVICE_UNAVAILABLE',
  /** Another container has the name. */
  name_in_use: 'CONFLICT',
  /** Something else still needs it. */
  in_use: 'CONFLICT',
  container_absent: 'NOT_FOUND',
  image_absent: 'NOT_FOUND',
  volume_absent: 'NOT_FOUND',
  network_absent: 'NOT_FOUND',
  path_absent: 'NOT_FOUND',
  /** The engine's disk is full. */
  disk_full: 'STORAGE_FULL',
  /** The engine calls the request itself wrong: repeating it is of no use. */
  refused: 'INTERNAL',
  /** Anything else that the engine answered. */
  failed: 'INTERNAL',
} as const satisfies Record<string, ErrorCode>;

export type EngineProblem = keyof typeof codes;

/** A call to the container engine failed; `problem` says how. */
export class EngineError extends AppError {
  readonly problem: EngineProblem;

  constructor(problem: EngineProblem, detail: string, options: { cause?: unknown } = {}) {
    super(codes[problem], detail, options);
    this.problem = problem;
  }
}

export function isEngineProblem(error: unknown, ...problems: EngineProblem[]): boolean {
  return error instanceof EngineError && problems.includes(error.problem);
}
