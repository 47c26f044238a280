import { describe, expect, it } from 'vitest';
import {
  consumerNameOf,
  consumerToken,
  newOperatorToken,
  partToken,
  publicApiToken,
  relayToken,
  verifyToken,
} from '../src/index.js';

describe('internal tokens', () => {
  const operator = newOperatorToken();

  it('tell who calls', () => {
    expect(verifyToken(operator, operator)).toEqual({ kind: 'operator' });
    expect(verifyToken(operator, publicApiToken(operator))).toEqual({ kind: 'public-api' });
    expect(verifyToken(operator, consumerToken(operator, 'host-1.gpu0'))).toEqual({
      kind: 'consumer',
      consumerId: 'host-1.gpu0',
    });
  });

  it('refuse a token of another secret, a changed id, a changed kind and nonsense', () => {
    const token = consumerToken(operator, 'a');
    expect(verifyToken(newOperatorToken(), token)).toBeUndefined();
    expect(verifyToken(operator, token.replace('consumer.a', 'consumer.b'))).toBeUndefined();
    expect(verifyToken(operator, token.replace('consumer.a', 'public-api.a'))).toBeUndefined();
    for (const nonsense of ['', 'consumer.', 'operator', `${token}x`, `${operator}x`]) {
      expect(verifyToken(operator, nonsense)).toBeUndefined();
    }
  });

  it('of the relay open nothing at private-api', () => {
    expect(relayToken(operator)).not.toBe(relayToken(newOperatorToken()));
    expect(verifyToken(operator, relayToken(operator))).toBeUndefined();
  });

  it('of a process make those of its consumers, and no others', () => {
    const lab = consumerToken(operator, 'lab');
    expect(consumerNameOf(lab)).toBe('lab');
    for (const part of ['cpu', 'gpu-0f3a9c11']) {
      const of = partToken(lab, part);
      const consumerId = `lab-${part}`;
      expect(verifyToken(operator, of)).toEqual({ kind: 'consumer', consumerId });
      expect(consumerNameOf(of)).toBeUndefined();
      expect(() => partToken(of, 'cpu')).toThrow(TypeError);
      // Neither of another process, nor of another of its consumers.
      expect(verifyToken(operator, of.replace('lab', 'ward'))).toBeUndefined();
      expect(verifyToken(operator, of.replace(part, 'gpu-1'))).toBeUndefined();
      // Nor as the process itself, or as a consumer that was given a token.
      expect(verifyToken(operator, of.replace(`/${part}`, ''))).toBeUndefined();
      expect(verifyToken(operator, of.replace('/', '-'))).toBeUndefined();
    }
    // `lab-2` would be another host's.
    for (const part of ['2', '2-gpu-1', 'gpu-', 'cpu/x', '']) {
      expect(() => partToken(lab, part)).toThrow(TypeError);
    }
    expect(() => partToken(publicApiToken(operator), 'cpu')).toThrow(TypeError);
  });
});
