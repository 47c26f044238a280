import { describe, expect, it } from 'vitest';
import { AppError, errorOfProblem, messageOf, systemCode, toAppError } from '../src/index.js';

const systemError = (code: string) => Object.assign(new Error(code), { code });

describe('toAppError', () => {
  it('keeps an AppError as it is', () => {
    const error = new AppError('CONFLICT', 'x');
    expect(toAppError(error, 'doing')).toBe(error);
  });

  it('tells a full disk from other faults, wherever in the causes', () => {
    const full = new Error('write failed', { cause: systemError('ENOSPC') });
    expect(toAppError(full, 'storing')).toMatchObject({ code: 'STORAGE_FULL', status: 507 });
    expect(toAppError(systemError('EIO'), 'storing')).toMatchObject({ code: 'INTERNAL' });
  });

  it('keeps the cause', () => {
    const cause = new Error('reason');
    expect(toAppError(cause, 'doing').cause).toBe(cause);
    expect(toAppError('thrown text', 'doing').message).toBe('doing: thrown text');
  });
});

describe('errorOfProblem', () => {
  it('rebuilds what another process threw', () => {
    const task = { state: 'FAILED', attempt: 1, attempts: [] };
    const rebuilt = errorOfProblem({
      type: 'about:blank',
      title: 't',
      status: 552,
      detail: 'd',
      code: 'TASK_FAILED',
      task,
    });
    expect(rebuilt).toMatchObject({ code: 'TASK_FAILED', status: 552, extensions: { task } });
  });

  it('takes a code that it does not know as a fault', () => {
    const problem = { type: '', title: '', status: 500, detail: 'd', code: 'NEW_CODE' };
    expect(errorOfProblem(problem).code).toBe('INTERNAL');
  });
});

describe('systemCode and messageOf', () => {
  it('read whatever was thrown', () => {
    expect(systemCode(systemError('ECONNREFUSED'))).toBe('ECONNREFUSED');
    expect(systemCode(Object.assign(new Error('x'), { code: 'P2002' }))).toBeUndefined();
    expect(systemCode('text')).toBeUndefined();
    expect(messageOf(new RangeError())).toBe('RangeError');
  });
});
