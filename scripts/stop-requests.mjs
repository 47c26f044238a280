import { readFileSync } from 'node:fs';

/**
 * A signal that aborts when this script is asked to end: by SIGINT, SIGTERM or SIGHUP, or by the
 * loss of the npm that runs it. (npm passes no SIGINT on, and when it is ended by SIGTERM its script
 * lives on.) The reason says what happened.
 */
export function listenForStop() {
  const controller = new AbortController();
  const stop = (why) => controller.abort(new Error(why));
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => stop(name));
  const ancestors = npmAncestors();
  const watch = setInterval(() => {
    if (ancestors.some(({ pid, startTime }) => readProcess(pid)?.startTime !== startTime)) {
      stop('npm has ended');
    }
  }, 500);
  watch.unref();
  return controller.signal;
}

/**
 * The processes from our parent up to the npm that runs this script (there may be a shell between),
 * or none when it was started otherwise.
 */
function npmAncestors() {
  if (process.env.npm_lifecycle_event === undefined) return [];
  const chain = [];
  for (let pid = process.ppid; pid > 1;) {
    const found = readProcess(pid);
    if (found === undefined) return [];
    chain.push({ pid, startTime: found.startTime });
    if (found.isNpm) return chain;
    pid = found.parent;
  }
  return [];
}

function readProcess(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    // npm renames itself to its command, `npm start`.
    const isNpm = /^npm |npm-cli\.js/.test(commandLine);
    return { parent: Number(fields[1]), startTime: fields[19], isNpm };
  } catch {
    return undefined;
  }
}
