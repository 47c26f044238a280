import { codeOfStatus, type Problem } from '@inference-server/contracts';
import { AppError, errorOfProblem } from '@inference-server/errors';

/** Rebuilds the server's error from its answer. Reads the body. */
export async function errorOfAnswer(answer: Response): Promise<AppError> {
  const problem = problemIn(await answer.text());
  if (problem === undefined) return foreignError(answer.status);
  const { code, extensions, message } = errorOfProblem(problem);
  const { error_id } = problem;
  return new AppError(code, error_id === undefined ? message : `${message} (${error_id})`, {
    extensions,
    ...retryAfter(answer),
  });
}

function problemIn(text: string): Problem | undefined {
  try {
    const { code, detail } = JSON.parse(text) as Partial<Problem>;
    const isProblem = typeof code === 'string' && typeof detail === 'string';
    return isProblem ? (JSON.parse(text) as Problem) : undefined;
  } catch {
    return undefined;
  }
}

/** Something between us and the server has answered. */
function foreignError(status: number): AppError {
  const isGateway = status === 502 || status === 504;
  return new AppError(
    isGateway ? 'SERVICE_UNAVAILABLE' : codeOfStatus(status),
    `The answer has status ${String(status)} and is not one of an InferenceServer.`,
  );
}

/** Servers of ours send seconds, never a date. */
function retryAfter({ headers }: Response): { retryAfterS?: number } {
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) ? { retryAfterS: seconds } : {};
}
