import { errorCodes, type ErrorCode, type Problem } from '@inference-server/contracts';

const extensionNames = [
  'message',
  'parameter',
  'reason',
  'entry',
  'offset',
  'allowed',
  'quota',
  'task',
] as const;

/** What a problem body may say beyond code and detail. */
export type ProblemExtensions = Partial<Pick<Problem, (typeof extensionNames)[number]>>;

/**
 * The only error that our code throws. `detail` is shown to the caller as it is, except under
 * INTERNAL, where the caller sees an id and the log has the rest.
 */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly extensions: ProblemExtensions;
  readonly retryAfterS: number | undefined;

  constructor(
    code: ErrorCode,
    detail: string,
    options: { cause?: unknown; extensions?: ProblemExtensions; retryAfterS?: number } = {},
  ) {
    super(detail, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.extensions = options.extensions ?? {};
    this.retryAfterS = options.retryAfterS;
  }

  get status(): number {
    return errorCodes[this.code].status;
  }

  get retryable(): boolean {
    return errorCodes[this.code].retryable;
  }
}

/** Rebuilds the error that another process answered with. */
export function errorOfProblem(problem: Problem): AppError {
  const { code, detail } = problem;
  const stated = extensionNames.filter((name) => problem[name] !== undefined);
  return new AppError(isErrorCode(code) ? code : 'INTERNAL', detail, {
    extensions: Object.fromEntries(stated.map((name) => [name, problem[name]])),
  });
}

function isErrorCode(code: string): code is ErrorCode {
  return code in errorCodes;
}
