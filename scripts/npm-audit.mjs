import { execFile } from 'node:child_process';

/**
 * Asks the registry, through npm, for what is known against the packages of a lock file. `notChecked` tells
 * why there is no answer: a registry that has no such service, or that is away. That is not "nothing found".
 *
 * @param {{ folder: string, registry?: string, signal: AbortSignal }} options
 * @returns {Promise<{ report: object } | { notChecked: string }>}
 */
export async function npmAudit({ folder, registry, signal }) {
  const args = ['audit', '--json', '--package-lock-only', '--fetch-retries=0'];
  const text = await outputOf(registry === undefined ? args : [...args, `--registry=${registry}`], {
    cwd: folder,
    signal,
  });
  const answer = parse(text);
  if (answer?.auditReportVersion === 2) return { report: answer };
  // The rest of what npm says names the registry, which may be a private one.
  const status = answer?.statusCode;
  if (status === 404 || status === 405 || status === 501) {
    return { notChecked: `the registry answers no audits (${status})` };
  }
  const code = status ?? answer?.error?.code ?? answer?.code ?? /E[A-Z]{4,}/.exec(text)?.[0];
  return { notChecked: `the registry could not be asked (${code ?? 'npm said nothing of use'})` };
}

/** With findings npm ends with 1: what it says counts. */
function outputOf(args, { cwd, signal }) {
  const npm = process.env.npm_execpath;
  const [command, ...words] = npm === undefined ? ['npm'] : [process.execPath, npm];
  const options = { cwd, signal, timeout: 2 * 60_000, maxBuffer: 64 * 1024 ** 2 };
  return new Promise((resolve, reject) => {
    execFile(command, [...words, ...args], options, (error, stdout) => {
      if (error?.name === 'AbortError' || error?.code === 'ENOENT') reject(error);
      else resolve(stdout);
    });
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
