import { describe, expect, it } from 'vitest';
import { tellsOfNoProgram, tellsThatNoneRuns } from '../src/docker/errors.js';

const refused = 'OCI runtime exec failed: exec failed: unable to start container process: ';

describe('a command that cannot be run', () => {
  it.each([
    `${refused}exec: "a": executable file not found in $PATH: unknown`,
    `${refused}exec: "/a/b": stat /a/b: no such file or directory: unknown`,
    `${refused}exec: "/bin": permission denied: unknown`,
    `${refused}exec: "/bin/a/b": stat /bin/a/b: not a directory: unknown`,
  ])('is known by the words of the runtime: %s', (text) => {
    expect(tellsOfNoProgram(text)).toBe(true);
  });

  it.each([
    'OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown',
    `${refused}read init-p: connection reset by peer: unknown`,
    `${refused}error executing setns process: exit status 1: unknown`,
    'cannot exec in a deleted state: unknown',
    '',
  ])('is told from the end of its container: %s', (text) => {
    expect(tellsOfNoProgram(text)).toBe(false);
  });
});

describe('that a container does not run', () => {
  const id = 'e75e223b9991d426f583dd3cd091d6874771af6dbeb6d8b529a8072d38c653c6';

  it.each([
    `Container ${id} is not running`,
    `container ${id} is not running`,
    `Container ${id} is not running: Exited (0) Less than a second ago`,
  ])("is known by the engine's words: %s", (text) => {
    expect(tellsThatNoneRuns(text)).toBe(true);
  });

  it('is told from a pause', () => {
    const text = `Container ${id} is paused, unpause the container before exec`;
    expect(tellsThatNoneRuns(text)).toBe(false);
  });
});
