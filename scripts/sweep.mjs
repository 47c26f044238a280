// npm run sweep, npm run sweep:engine: a sweep by hand. Where no database or private-api is named, it
// has the settings of the server that `npm start` runs on DATA_DIR, as its process has them: with
// others, times above all, it would take what that server keeps.
import { readFile, readlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { repository } from './setup.mjs';

const [app] = process.argv.splice(2, 1);
const needed = { 'private-api': 'DATABASE_URL', 'job-consumer': 'PRIVATE_API_URL' }[app];
if (![needed, `${needed}_FILE`].some((name) => process.env[name])) {
  const dataDir = resolve(repository, process.env.DATA_DIR ?? '.data');
  const settings = await settingsOf(join(dataDir, 'run', `${app}.json`)).catch((error) => {
    if (error.code !== 'EACCES') throw error;
    console.error(`${app}: run it as the user of the server that runs on ${dataDir}.`);
    process.exit(1);
  });
  if (settings !== undefined) Object.assign(process.env, settings);
  else console.error(`${app}: none that npm start has started runs on ${dataDir}.`);
}
await import(join(repository, 'apps', app, 'dist', 'sweep.js'));

/** Those of the process that the record names; undefined when it has ended. */
async function settingsOf(recordFile) {
  try {
    const { pid, startTime } = JSON.parse(await readFile(recordFile, 'utf8'));
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The number may be another process's by now. Field 22; the second may hold blanks.
    if (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] !== startTime) return undefined;
    const lines = environment.split('\0').filter((line) => /^(?!NODE_CHANNEL_)[^=]+=/.test(line));
    // What is named relatively is meant from where it runs.
    process.chdir(await readlink(`/proc/${pid}/cwd`));
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return undefined;
    throw error;
  }
}
